/** The state as attributes, for tests and for style: what is shown, focused, and whether it is complete. */

import { attr } from "./dom";
import { effect } from "./signals";
import type { View } from "./view";
import type { Want } from "./wants";

export function showState(root: HTMLElement, view: View): void {
  const { store } = view;
  view.disposers.push(
    effect(() => {
      const { layer, head, stack, batch } = store.shownHead.value;
      const { query, key } = store.focus.value;
      attr(root, "data-stack", stack);
      attr(root, "data-batch", String(batch));
      attr(root, "data-layer", String(layer));
      attr(root, "data-head", String(head));
      attr(root, "data-query", query === null ? "" : String(query));
      attr(root, "data-key", key === null ? "" : String(key));
    }),
    effect(() => {
      attr(root, "data-domain", view.picture.value.range.join());
      attr(root, "data-status", view.source.link.value);
    }),
  );
}

/** Marks the first frame in which everything on screen was drawn from real data, and keeps `data-ready` right. */
export function followReady(root: HTMLElement, view: View): void {
  let first = true;
  attr(root, "data-ready", "false");
  view.frames.after = () => {
    const { store, source } = view;
    const { stack, batch } = store.shown.value;
    const wants: Want[] = view.visibleHeads.value.map((index) => ({
      kind: "thumbnail",
      ref: { stack: stack.name, batch, ...index },
    }));
    wants.push({ kind: "detail", ref: store.shownHead.value });
    const grid =
      !store.panels.value.includes("grid") || !view.onScreen.value || view.visibleHeads.value.length > 0;
    const ready = grid && root.clientWidth > 0 && wants.every((want) => source.has(want));
    attr(root, "data-ready", String(ready));
    if (ready && first) {
      first = false;
      performance.mark("attnwidget:first-paint");
    }
  };
}
