/** Pointing at single tokens on a canvas, each of them read as a query or as a key. */
import { pointing } from "../pointing";
import type { PanelName } from "../protocol";
import type { Pair } from "../state";
import type { View } from "../view";

export const sided = (key: boolean, index: number): Pair =>
  key ? { query: null, key: index } : { query: index, key: null };

/** `arrow` says where the keyboard goes, and brings it into sight on the canvas. */
export function tokenPointing(
  { store, select, frames, name }: View,
  panel: PanelName,
  element: HTMLElement,
  at: (event: MouseEvent) => Pair | null,
  arrow: (down: number, right: number, fast: boolean) => Pair,
): void {
  pointing<Pair>(element, frames, {
    at,
    hover(pair) {
      select.hover(pair, panel);
      element.title = pair ? name(pair) : "";
      element.style.cursor = pair ? "pointer" : "";
    },
    lock: (pair) => select.lock(pair),
    arrow(down, right, fast) {
      const next = arrow(down, right, fast);
      select.hover(next, panel);
      select.reveal(next);
    },
    current() {
      const { query, key } = store.focus.value;
      return query !== null ? sided(false, query) : key !== null ? sided(true, key) : null;
    },
  });
}
