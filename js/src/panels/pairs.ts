/** A line of buttons, one per pair of tokens: its index, its word and its weight; a click locks the pair and shows it everywhere. */

import type { Line } from "../datasource";
import { attr, h } from "../dom";
import { formatCell } from "../format";
import { on } from "../pointing";
import type { Pair } from "../state";
import type { View } from "../view";

/** A row or a column of a head. */
export interface Aimed extends Line {
  side: "query" | "key";
  index: number;
}

export function pairButtons(view: View, room: number) {
  const { store, select } = view;
  let pairs: Pair[] = [];
  const buttons = Array.from({ length: room }, (_, nth) => {
    const button = h("button", {}, h("span"), " ", h("bdi"), " ", h("strong"));
    on(button, "click", () => {
      const pair = pairs[nth]!;
      select.lock(pair);
      select.reveal(pair);
    });
    return button;
  });
  const words = h("span");
  const after = h("span");
  return {
    element: h("div", { className: "pairs" }, words, ...buttons, after),
    /** `order`: places on the other side, as many as there is room for. */
    show(line: Aimed | null, order: readonly number[], before: string, behind = ""): void {
      const { rows, columns } = store.shown.value;
      const locked = store.locked.value;
      words.textContent = before;
      after.textContent = behind;
      pairs = [];
      buttons.forEach((button, nth) => {
        const i = order[nth];
        button.hidden = !line || i === undefined;
        if (!line || i === undefined) return;
        const fromQuery = line.side === "query";
        const pair = fromQuery ? { query: line.index, key: i } : { query: i, key: line.index };
        pairs.push(pair);
        const said = [
          String(i),
          (fromQuery ? columns : rows).labels[i]!,
          formatCell(line.values[i], line.exact, store.reading.value),
        ];
        said.forEach((text, part) => {
          button.children[part]!.textContent = text.replace(" uniform", "");
        });
        button.title = `${view.name(pair)}, ${said[2]}: lock`;
        attr(button, "aria-label", `${button.textContent}: ${button.title}`);
        attr(button, "aria-pressed", String(pair.query === locked.query && pair.key === locked.key));
      });
    },
  };
}
