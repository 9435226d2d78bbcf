/** Under the lines: the strong ones that lead to tokens out of sight, each a button that goes there. */
import { h } from "../dom";
import { formatEnd } from "../format";
import { on } from "../pointing";
import type { Range } from "../protocol";
import type { Pair } from "../state";
import { named } from "../tokens";
import type { Gaze, View } from "../view";

const SHOWN = 3;

export function outside(view: View) {
  const { store, select } = view;
  const words = h("span");
  let pairs: Pair[] = [];
  const buttons = Array.from({ length: SHOWN }, (_, nth) => {
    const button = h("button", { hidden: true });
    on(button, "click", () => {
      const pair = pairs[nth]!;
      const { query, key } = store.locked.peek();
      if (query !== pair.query || key !== pair.key) select.lock(pair);
      select.reveal(pair);
    });
    return button;
  });
  const element = h("div", { className: "beyond" }, words, ...buttons);
  return {
    element,
    /** `order`: the tokens at or over the threshold, strongest first; those in `sight` are left out. */
    show(reserved: boolean, gaze: Gaze | null, order: readonly number[], [from, to]: Range): void {
      element.hidden = !reserved;
      const away = gaze && reserved ? order.filter((i) => i < from || i >= to) : [];
      const first = away.slice(0, SHOWN);
      const { rows, columns } = store.shown.value;
      const query = gaze?.side === "query";
      pairs = first.map((i) => (query ? { query: gaze!.index, key: i } : { query: i, key: gaze!.index }));
      const n = away.length.toLocaleString("en");
      const noun = query ? (away.length === 1 ? "key" : "keys") : away.length === 1 ? "query" : "queries";
      words.textContent = away.length ? `${n} ${noun} out of sight:` : "";
      words.title = away.length ? `${n} ${noun} at or over the threshold; the strongest are named` : "";
      buttons.forEach((button, nth) => {
        const index = first[nth];
        button.hidden = index === undefined;
        if (index === undefined) return;
        const text = `${named((query ? columns : rows).labels, index)} ${formatEnd(gaze!.values[index]!)}`;
        button.textContent = text;
        button.title = `${view.name(pairs[nth]!)}: locks it and brings it into sight`;
      });
    },
  };
}
