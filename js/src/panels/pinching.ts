/** Two fingers zoom and pan the heatmap; one finger scrolls the page, wherever it is put. */
import { on } from "../pointing";
import { panned, type Window, zoomed } from "../window";
import type { Lens, Point } from "./lens";

interface Start {
  window: Window;
  between: Point;
  apart: number;
}

export function pinching(stage: HTMLElement, lens: Lens): void {
  const fingers = new Map<number, Point>();
  let start: Start | null = null;

  const move = () => {
    const g = lens.geometry.peek();
    if (!g) return;
    const [a, b] = [...fingers.values()] as [Point, Point];
    const between = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    const apart = Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    start ??= { window: lens.window, between, apart };
    const { window } = start;
    const share = ({ x, y }: Point) => [(y - g.top) / g.height, (x - g.left) / g.width] as const;
    const [down, across] = share(start.between);
    const at = ([from, to]: readonly [number, number], part: number) => from + part * (to - from);
    const next = zoomed(
      window,
      lens.shape,
      start.apart / apart,
      at(window.queries, down),
      at(window.keys, across),
    );
    // What was between the fingers at the start stays between them.
    const [downNow, acrossNow] = share(between);
    const back = ([from, to]: readonly [number, number], part: number) => part * (to - from);
    lens.look(
      panned(next, lens.shape, back(next.queries, down - downNow), back(next.keys, across - acrossNow)),
    );
  };
  const lift = ({ pointerId }: PointerEvent) => {
    if (!fingers.delete(pointerId) || !start) return;
    start = null;
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
