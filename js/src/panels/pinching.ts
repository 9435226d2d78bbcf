/** Two fingers zoom and pan the heatmap; one finger scrolls the page, wherever it is put. */
import { on } from "../pointing";
import type { Lens, Point } from "./lens";

export function pinching(stage: HTMLElement, lens: Lens): void {
  const fingers = new Map<number, Point>();
  let last: { between: Point; apart: number } | null = null;

  const move = () => {
    const [a, b] = [...fingers.values()] as [Point, Point];
    const between = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    const apart = Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    // What is between the fingers stays between them.
    if (last) {
      lens.zoom(last.apart / apart, last.between);
      lens.pan(lens.window, between.x - last.between.x, between.y - last.between.y);
    }
    last = { between, apart };
  };
  const lift = ({ pointerId }: PointerEvent) => {
    if (!fingers.delete(pointerId) || !last) return;
    last = null;
    lens.settle();
  };

  on(stage, "pointerdown", (event) => {
    if (event.pointerType === "touch") fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  });
  stage.addEventListener(
    "pointermove",
    (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      if (fingers.size !== 2) return;
      event.stopImmediatePropagation();
      move();
    },
    { capture: true },
  );
  for (const name of ["pointerup", "pointercancel", "pointerleave"] as const) on(stage, name, lift);
  stage.addEventListener(
    "touchstart",
    (event) => {
      if (event.touches.length > 1) event.preventDefault();
    },
    { passive: false },
  );
}
