/** The strongest keys of the focused query, or queries of the focused key. */

import { singleCelled } from "../edges";
import { formatEnd } from "../format";
import type { Shown } from "../state";
import { strongest } from "../strongest";
import type { View } from "../view";
import { type Aimed, pairButtons } from "./pairs";
import type { Panel } from "./panel";

export const TOP = 5;

export function topKeys(view: View, panel: Panel): HTMLElement {
  const { store, source } = view;
  const row = pairButtons(view, TOP);
  let target: { side: Aimed["side"]; index: number; shown: Shown } | null = null;
  let found: number[] = [];
  let foundIn: Float32Array | undefined;

  panel.painting(() => {
    const { query, key } = store.focus.value;
    const shown = store.shown.value;
    // Where nothing is focused any more the last token stays: on its way to a button the pointer leaves it.
    if (target?.shown !== shown) target = null;
    if (query !== null && (key === null || store.direction.value === "from"))
      target = { side: "query", index: query, shown };
    else if (key !== null) target = { side: "key", index: key, shown };
    if (!target) {
      row.show(null, [], "strongest keys: point at a token");
      return;
    }
    const { side, index } = target;
    const head = store.shownHead.value;
    const others = side === "query" ? "keys" : "queries";
    const gaze = view.gaze.value;
    const line =
      gaze?.side === side && gaze.index === index
        ? gaze
        : side === "query"
          ? source.row(head, index)
          : source.column(head, index);
    // Of pooled cells nobody knows which of their tokens is the strong one.
    const known = line && (line.exact || singleCelled(view.picture.value.tile, shown.queries, shown.keys));
    let after = view.passing.later.value;
    if (known) {
      const { values, exact } = line;
      if (values !== foundIn) found = strongest(values, TOP);
      foundIn = values;
      const sum = found.reduce((all, i) => all + values[i]!, 0);
      if (found.length)
        after =
          exact && side === "query" && store.reading.value.kind === "weight"
            ? `together ${formatEnd(sum)}`
            : "";
      else after = values.every(Number.isNaN) ? `the mask allows no ${others}` : "no weight above 0 is known";
    }
    row.show(
      known ? { ...line, side, index } : null,
      found,
      `${store.reading.value.kind === "signed" ? "highest" : "strongest"} ${others} of ${side} ${index}`,
      after,
    );
  });
  return row.element;
}
