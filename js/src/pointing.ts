/** The gestures that every panel answers alike: hover previews, click locks, arrows move, Enter locks. */
import type { Frames } from "./frames";

export interface Gestures<T> {
  /** What is under the pointer, or null. */
  at(event: MouseEvent): T | null;
  hover(target: T | null, event?: MouseEvent): void;
  lock(target: T): void;
  /** One arrow: -1, 0 or 1 down and right; `fast` with Shift. Returns nothing. */
  arrow(down: number, right: number, fast: boolean, event: KeyboardEvent): void;
  /** What the keyboard is on. */
  current(event: KeyboardEvent): T | null;
}

export const ARROWS: Record<string, readonly [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function on<K extends keyof HTMLElementEventMap>(
  element: HTMLElement,
  event: K,
  run: (event: HTMLElementEventMap[K]) => void,
): void {
  element.addEventListener(event, run);
}

export function pointing<T>(element: HTMLElement, frames: Frames, gestures: Gestures<T>): void {
  on(element, "pointermove", (event) => frames.hover(() => gestures.hover(gestures.at(event), event)));
  on(element, "pointerleave", () => gestures.hover(null));
  on(element, "focusout", () => gestures.hover(null));
  on(element, "click", (event) => {
    const target = gestures.at(event);
    if (target !== null) gestures.lock(target);
  });
  on(element, "keydown", (event) => {
    const step = ARROWS[event.key];
    if (step) frames.hover(() => gestures.arrow(step[0], step[1], event.shiftKey, event));
    else if (event.key === "Enter" || event.key === " ") {
      const target = gestures.current(event);
      if (target !== null) gestures.lock(target);
    } else return;
    event.preventDefault();
  });
}

/** `from` moved by one, or by a tenth of `n` when fast; 0 if there was nothing to move. */
export function moved(from: number | null, by: number, n: number, fast = false): number {
  if (from === null) return 0;
  return Math.max(0, Math.min(n - 1, from + by * (fast ? Math.ceil(n / 10) : 1)));
}
