/** Keys that work anywhere in the view. Panels answer the arrows, Enter and Space themselves. */
import { toggleKey, toggleWords } from "./lens";
import type { View } from "./view";

const STEPS: Record<string, readonly [number, number]> = {
  "[": [0, -1],
  "]": [0, 1],
  "{": [-1, 0],
  "}": [1, 0],
};

export function onKeys(root: HTMLElement, view: View, help: HTMLDialogElement): void {
  const { select } = view;
  root.addEventListener("keydown", (event) => {
    // Notebooks act on bare letters pressed in an output: `b` would insert a cell.
    event.stopPropagation();
    if (help.open) return;
    const ctrl = event.ctrlKey || event.metaKey;
    if (ctrl ? event.key === "f" && !event.altKey : event.key === "/") {
      const field = root.querySelector<HTMLInputElement>('input[type="search"]');
      field?.focus();
      field?.setSelectionRange(0, field.value.length);
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) {
      // AltGr, which types brackets on many keyboards, arrives as ctrl + alt.
      if (!(event.ctrlKey && event.altKey)) return;
    }
    const step = STEPS[event.key];
    if (step) {
      // The preview would hide the step; a token under the pointer stays, to be compared head by head.
      select.hoverHead(null, 0);
      select.step(step[0], step[1]);
    } else if (event.key === "Escape") select.release();
    else if (event.key === "w") toggleWords(view);
    else if (event.key === "h") toggleKey(view, view.store.focus.peek().key);
    else if (event.key === "?") help.showModal();
    else return;
    event.preventDefault();
  });
}
