/** A canvas as large as what is seen of something larger: only that is ever drawn. */
import { fit, type Surface, surface } from "./canvas";
import { h } from "./dom";

export interface Scroller extends Surface {
  element: HTMLElement;
  /** What is scrolled away, in CSS pixels. */
  readonly x: number;
  readonly y: number;
  /** Makes the canvas ready for content of this size inside this room; returns what is seen of it. */
  fit(width: number, height: number, room: number, most: number): { width: number; height: number };
  /** Scrolls, if it must, until the box is in sight beside the frozen margins. */
  reveal(left: number, top: number, width: number, height: number, marginX: number, marginY: number): void;
  /** Scrolls down to a place, as far as there is something. */
  down(y: number): void;
}

export function scroller(
  name: string,
  label: string,
  scrolled: () => void,
  ...over: HTMLCanvasElement[]
): Scroller {
  const base = surface(name, "base");
  const window = h("div", { className: "window" }, base.canvas, ...over);
  const spacer = h("div", {}, window);
  const element = h(
    "div",
    { className: "scroll", tabIndex: 0, role: "application", aria: { label } },
    spacer,
  );
  // Asking the browser where it is scrolled to, or how wide it is, would make it lay out in the middle of a frame.
  let [x, y, wide, high, across, content] = [0, 0, 0, 0, 0, 0];
  let last = "";
  element.addEventListener("scroll", () => {
    // An element that is not laid out, as while its host changes the theme, says that it is scrolled nowhere.
    if (!element.clientWidth) return;
    x = element.scrollLeft;
    y = element.scrollTop;
    scrolled();
  });
  /** To where it is known to be, as far as there is something: the element forgets it when it is taken off the page. */
  const stay = () => {
    x = Math.max(0, Math.min(x, across - wide));
    y = Math.max(0, Math.min(y, content - high));
    if (element.scrollLeft !== x) element.scrollLeft = x;
    if (element.scrollTop !== y) element.scrollTop = y;
  };
  new ResizeObserver(() => {
    if (element.clientWidth) stay();
  }).observe(element);
  return {
    ...base,
    element,
    get x() {
      return x;
    },
    get y() {
      return y;
    },
    fit(width, height, room, most) {
      const size = `${width} ${height} ${room} ${most}`;
      if (size !== last) {
        // What fills the room stays beside a scroll bar, where bars take room; else it would scroll across by the bar.
        const fills = width === room;
        spacer.style.width = fills ? "100%" : `${width}px`;
        spacer.style.height = `${height}px`;
        element.style.height = `${Math.min(height + (width > room ? 12 : 0), most)}px`;
        wide = Math.min(width, element.clientWidth || room);
        high = Math.min(height, most);
        across = fills ? wide : width;
        content = height;
        stay();
      }
      last = size;
      fit(base, wide, high);
      return { width: wide, height: high };
    },
    down(to) {
      y = Math.max(0, Math.min(to, content - high));
      element.scrollTop = y;
    },
    reveal(left, top, width, height, marginX, marginY) {
      const [beforeX, beforeY] = [x, y];
      if (left - marginX < x) x = left - marginX;
      else if (left + width > x + wide) x = left + width - wide;
      if (top - marginY < y) y = top - marginY;
      else if (top + height > y + high) y = top + height - high;
      if (x !== beforeX) element.scrollLeft = x;
      if (y !== beforeY) element.scrollTop = y;
    },
  };
}
