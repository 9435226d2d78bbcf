/** The state as attributes, for tests and for style: what is shown, focused, and whether it is complete. */

import { attr } from "./dom";
import { effect } from "./signals";
import type { View } from "./view";
import { toTrait } from "./window";

export function showState(root: HTMLElement, view: View): void {
  const { store } = view;
  view.disposers.push(
    effect(() => {
      const { layer, head, stack, batch, aggregate } = store.shownHead.value;
      const { query, key } = store.focus.value;
      attr(root, "data-stack", stack);
      attr(root, "data-batch", String(batch));
      attr(root, "data-layer", String(layer));
      attr(root, "data-head", String(head));
      attr(root, "data-aggregate", aggregate ? view.headWords.value : "");
      attr(root, "data-query", query === null ? "" : String(query));
      attr(root, "data-key", key === null ? "" : String(key));
    }),
    effect(() => {
      attr(root, "data-domain", view.picture.value.ramp.range.join());
      attr(root, "data-status", view.source.link.value);
    }),
    effect(() => {
      const { shown, visible } = store;
      const { queries, keys } = shown.value;
      const ends = toTrait(visible.value, shown.value);
      attr(root, "data-whole", `0,${queries},0,${keys}`);
      attr(root, "data-window", ends ? ends.join() : "");
      attr(root, "data-level", String(view.sight.value.level ?? ""));
      attr(root, "data-sampled", String(view.sampled.value ?? ""));
    }),
    effect(() => {
      const done = view.progress.value;
      attr(root, "data-progress", done === null ? "" : done.toFixed(3));
    }),
  );
}

/** Milliseconds after which a view that was hidden in a frame is looked at again. */
const LATER = 100;

/** Marks the first frame in which everything on screen was drawn from real data, and keeps `data-ready` right. */
export function followReady(root: HTMLElement, view: View): void {
  let first = true;
  let looked = false;
  let later: ReturnType<typeof setTimeout> | undefined;
  view.disposers.push(() => clearTimeout(later));
  attr(root, "data-ready", "false");
  // What has not been asked for yet cannot have been drawn: this part does not wait for a frame. What has come may change
  // nothing that is drawn, and then nobody else asks for a frame.
  const again = () => {};
  view.disposers.push(
    effect(() => {
      // JupyterLab takes views that are far away off the page, and brings them back without a change of theirs.
      void view.onScreen.value;
      if (view.missing.value) attr(root, "data-ready", "false");
      else view.frames.request(again);
    }),
  );
  view.frames.after = () => {
    const { store } = view;
    const grid =
      !store.panels.value.includes("grid") || !view.onScreen.value || view.visibleHeads.value !== null;
    const ready = grid && root.clientWidth > 0 && !view.missing.value;
    attr(root, "data-ready", String(ready));
    // Notebook 7 hides all for less than a frame when its theme changes, and no observer tells of that: look once more.
    looked = !root.clientWidth && !looked;
    if (looked) later = setTimeout(() => view.frames.request(again), LATER);
    if (ready && first) {
      first = false;
      performance.mark("attnwidget:first-paint");
    }
  };
}
