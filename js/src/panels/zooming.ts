/** Zoom by wheel, keys and buttons. A plain wheel only after a click, so that the page's own scroll is never trapped. */
import { h, iconButton } from "../dom";
import { on } from "../pointing";
import { effect, type ReadonlySignal, signal } from "../signals";
import { isWhole, LEAST, panned } from "../window";
import type { Lens } from "./lens";

/** A wheel that has just zoomed does not scroll the page when it comes to the end. */
const MOMENTUM = 300;
/** Steps of the wheel up to this come from a trackpad's pinch, which arrives as ctrl + wheel. */
const PINCH = 50;

/** Returns whether a plain wheel zooms: after a click, until Esc or until the focus is elsewhere. */
export function wheeling(stage: HTMLElement, lens: Lens): ReadonlySignal<boolean> {
  const engaged = signal(false);
  let acted = Number.NEGATIVE_INFINITY;
  stage.addEventListener(
    "wheel",
    (event) => {
      const g = lens.geometry.peek();
      const always = event.ctrlKey || event.metaKey;
      if (!g || !(always || engaged.peek())) return;
      const unit = event.deltaMode === 0 ? 1 : 16;
      const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
      let done: boolean;
      if (!always && (event.shiftKey || Math.abs(dx) > Math.abs(dy)))
        done = lens.look(panned(lens.window, lens.shape, 0, (dx || dy) / g.cellX));
      else {
        const octaves = dy * (always && Math.abs(dy) < PINCH ? 0.02 : 0.004);
        // Over the overview there is no place to zoom at.
        const point = (event.target as Element).closest?.(".minimap")
          ? undefined
          : { x: event.offsetX, y: event.offsetY };
        done = lens.zoom(2 ** Math.max(-0.5, Math.min(0.5, octaves)), point);
      }
      if (done) acted = event.timeStamp;
      else if (!always && event.timeStamp - acted > MOMENTUM) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { passive: false },
  );
  stage.addEventListener(
    "click",
    () => {
      engaged.value = true;
    },
    { capture: true },
  );
  on(stage, "focusout", () => {
    engaged.value = false;
  });
  on(stage, "keydown", (event) => {
    if (event.key === "Escape") engaged.value = false;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") step(lens, 0.5);
    else if (event.key === "-") step(lens, 2);
    else if (event.key === "0") lens.select.lookAll();
    else return;
    event.preventDefault();
  });
  return engaged;
}

function step(lens: Lens, factor: number): void {
  lens.zoom(factor);
  lens.settle();
}

/** The same without any gesture; `stop` ends what keeps the buttons' states right. */
export function zoomButtons(lens: Lens): { element: HTMLElement; stop: () => void } {
  const { store } = lens.select;
  const button = (sign: string, title: string, run: () => void) => {
    const made = iconButton(sign, title, "step");
    on(made, "click", run);
    return made;
  };
  const closer = button("+", "Zoom in, key +", () => step(lens, 0.5));
  const farther = button("−", "Zoom out, key -", () => step(lens, 2));
  const all = button("⤢", "Show the whole head, key 0", () => lens.select.lookAll());
  const stop = effect(() => {
    const { queries, keys } = store.visible.value;
    farther.disabled = all.disabled = isWhole(store.visible.value, store.shown.value);
    closer.disabled = queries[1] - queries[0] <= LEAST && keys[1] - keys[0] <= LEAST;
  });
  return { element: h("span", { className: "zoom" }, farther, closer, all), stop };
}
