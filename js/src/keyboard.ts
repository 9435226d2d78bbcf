/** Keys that work anywhere in the view. Panels answer the arrows, Enter and Space themselves. */

import { kit } from "./kit";
import { turn } from "./panels/direction";
import type { View } from "./view";

const STEPS: Record<string, readonly [number, number]> = {
  "[": [0, -1],
  "]": [0, 1],
  "{": [-1, 0],
  "}": [1, 0],
};

/** `overlays`: the dialogs by the keys that open them. */
export function onKeys(root: HTMLElement, view: View, overlays: Record<string, HTMLDialogElement>): void {
  const { select, store } = view;
  const actions: Record<string, () => void> = {
    w: () => kit.peek()?.toggleWords(view),
    h: () => kit.peek()?.toggleKey(view, store.focus.peek().key),
    d: () => select.togglePanel("detail"),
    o: () => select.togglePanel("output"),
    s: () => view.finder.toggleLike(),
    r: () => turn(store),
    p: () => {
      root.querySelector<HTMLDetailsElement>(".menu")!.open = true;
      root.querySelector<HTMLElement>(".menu input:enabled")?.focus();
    },
  };
  root.addEventListener("keydown", (event) => {
    // Notebooks act on bare letters pressed in an output: `b` would insert a cell.
    event.stopPropagation();
    if (root.querySelector("dialog[open]")) return;
    const ctrl = event.ctrlKey || event.metaKey;
    if (ctrl ? event.key === "f" && !event.altKey : event.key === "/") {
      const field = root.querySelector<HTMLInputElement>('input[type="search"]');
      if (!field) return;
      field.focus();
      field.select();
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) {
      // AltGr, which types brackets on many keyboards, arrives as ctrl + alt.
      if (!(event.ctrlKey && event.altKey)) return;
    }
    const step = STEPS[event.key];
    const target = event.target as Element;
    // A letter picks in a list, and is text in a field.
    const typing = target.matches("select, textarea, input:not([type=range], [type=checkbox])");
    const action = typing ? undefined : actions[event.key.toLowerCase()];
    const overlay = typing ? undefined : overlays[event.key];
    if (step) {
      // The preview would hide the step; a token under the pointer stays, to be compared head by head.
      select.hoverHead(null, 0);
      select.step(step[0], step[1]);
    } else if (action) action();
    else if (overlay) overlay.showModal();
    else if (event.key === "Escape") {
      if (store.like.value) store.like.value = null;
      else select.release();
    } else return;
    event.preventDefault();
  });
}
