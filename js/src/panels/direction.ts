/** How a token under the pointer is read: as a query, what it looks at, or as a key, what looks at it. */
import { attr, h } from "../dom";
import { on } from "../pointing";
import { effect } from "../signals";
import type { Store } from "../state";
import type { View } from "../view";
import type { Panel } from "./panel";

const WORDS = { from: ["what it looks at", "query"], to: ["what looks at it", "key"] } as const;

export function turn({ direction }: Store): void {
  direction.value = direction.peek() === "from" ? "to" : "from";
}

/** The button says what is shown; between two texts it counts only where a pair is locked. */
export function directionButton({ store }: View, panel: Panel): HTMLElement {
  const button = h("button", { className: "outlined direction" });
  on(button, "click", () => turn(store));
  panel.onDispose(
    effect(() => {
      const { rows, columns } = store.shown.value;
      const { query, key } = store.locked.value;
      button.hidden = rows !== columns && (query === null || key === null);
      const [now, side] = WORDS[store.direction.value];
      button.textContent = `⇄ ${now}`;
      button.title = `A token is read as a ${side}: ${now}. Key r turns it round`;
      attr(button, "aria-label", `direction: ${now}`);
    }),
  );
  return button;
}
