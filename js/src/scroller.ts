/** A canvas as large as what is seen of something larger: only that is ever drawn. */
import { fit, type Surface, surface } from "./canvas";
import { h } from "./dom";

export interface Scroller extends Surface {
  element: HTMLElement;
  /** What is scrolled away, in CSS pixels. */
  readonly x: number;
  readonly y: number;
  /** Makes the canvas ready for content of this size inside this room; returns what is seen of it. */
  fit(width: number, height: number, room: number, high: number): { width: number; height: number };
  /** Scrolls, if it must, until the box is in sight beside the frozen margins. */
  reveal(x: number, y: number, width: number, height: number, left: number, top: number): void;
}

export function scroller(name: string, label: string, ...over: HTMLCanvasElement[]): Scroller {
  const base = surface(name, "base");
  const window = h("div", { className: "window" }, base.canvas, ...over);
  const spacer = h("div", {}, window);
  const element = h(
    "div",
    { className: "scroll", tabIndex: 0, role: "application", aria: { label } },
    spacer,
  );
  return {
    ...base,
    element,
    get x() {
      return element.scrollLeft;
    },
    get y() {
      return element.scrollTop;
    },
    fit(width, height, room, high) {
      const bar = width > room ? 12 : 0;
      spacer.style.width = `${width}px`;
      spacer.style.height = `${height}px`;
      element.style.height = `${Math.min(height + bar, high)}px`;
      const seen = { width: Math.min(width, element.clientWidth || room), height: Math.min(height, high) };
      fit(base, seen.width, seen.height);
      return seen;
    },
    reveal(x, y, width, height, left, top) {
      const move = (now: number, start: number, size: number, margin: number, room: number) =>
        start - margin < now ? start - margin : start + size > now + room ? start + size - room : now;
      element.scrollLeft = move(element.scrollLeft, x, width, left, element.clientWidth);
      element.scrollTop = move(element.scrollTop, y, height, top, element.clientHeight);
    },
  };
}
