/** Mouse and pen on the plot: a drag moves the window, with Shift it draws a box; a click that did not move stays a click. */
import { h } from "../dom";
import { on } from "../pointing";
import type { Pair } from "../state";
import { isWhole, type Window } from "../window";
import type { Box, Lens, Point } from "./lens";

/** Pixels a click may move. */
const SLOP = 4;

interface Drag {
  from: Point;
  window: Window;
  kind: "click" | "box" | "pan";
}

const pointOf = (event: MouseEvent): Point => ({ x: event.offsetX, y: event.offsetY });

export function dragging(stage: HTMLElement, lens: Lens): void {
  const { select } = lens;
  const frame = h("div", { className: "box", hidden: true });
  stage.append(frame);
  let drag: Drag | null = null;
  /** The click that ends a drag locks nothing. */
  let dragged = false;
  /** What was locked before a click that may be the first of two. */
  let before: Pair = select.store.locked.peek();

  const end = () => {
    drag = null;
    frame.hidden = true;
    stage.classList.remove("panning");
  };
  const boxTo = ({ from }: Drag, to: Point): Box => {
    const g = lens.geometry.peek()!;
    const { x, y } = lens.clip(g, to);
    return {
      left: Math.min(from.x, x),
      right: Math.max(from.x, x),
      top: Math.min(from.y, y),
      bottom: Math.max(from.y, y),
    };
  };

  on(stage, "pointerdown", (event) => {
    dragged = false;
    if (event.button === 0 && event.pointerType !== "touch" && lens.inPlot(pointOf(event)))
      drag = { from: pointOf(event), window: lens.window, kind: "click" };
  });
  // Before the hover hears of it: while the window moves, what is pointed at stays.
  stage.addEventListener(
    "pointermove",
    (event) => {
      if (drag && !(event.buttons & 1)) end();
      if (!drag) return;
      const to = pointOf(event);
      const [right, down] = [to.x - drag.from.x, to.y - drag.from.y];
      if (drag.kind === "click") {
        if (Math.hypot(right, down) <= SLOP) return;
        if (event.shiftKey) drag.kind = "box";
        else if (!isWhole(drag.window, lens.shape)) drag.kind = "pan";
        else {
          drag = null;
          return;
        }
        dragged = true;
        stage.setPointerCapture?.(event.pointerId);
        stage.classList.toggle("panning", drag.kind === "pan");
        if (drag.kind === "box") select.hover(null, "heatmap");
      }
      event.stopImmediatePropagation();
      if (drag.kind === "pan") lens.pan(drag.window, right, down);
      else {
        const { left, right, top, bottom } = boxTo(drag, to);
        frame.hidden = false;
        frame.style.cssText = `left:${left}px;top:${top}px;width:${right - left}px;height:${bottom - top}px`;
      }
    },
    { capture: true },
  );
  on(stage, "pointerup", (event) => {
    if (!drag) return;
    if (drag.kind === "box") lens.enclose(boxTo(drag, pointOf(event)));
    if (drag.kind !== "click") lens.settle();
    end();
  });
  on(stage, "pointercancel", end);
  stage.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !drag || drag.kind === "click") return;
      // It ends the gesture and leaves the lock.
      lens.look(drag.window);
      lens.settle();
      end();
      event.stopImmediatePropagation();
    },
    { capture: true },
  );
  stage.addEventListener(
    "click",
    (event) => {
      if (dragged) event.stopImmediatePropagation();
      else if (event.detail > 1) {
        // The second of a double click: what the first one locked is taken back.
        event.stopImmediatePropagation();
        select.restore(before);
      } else before = select.store.locked.peek();
      dragged = false;
    },
    { capture: true },
  );
  on(stage, "dblclick", (event) => {
    if (!lens.inPlot(pointOf(event))) return;
    lens.zoom(0.5, pointOf(event));
    lens.settle();
  });
}
