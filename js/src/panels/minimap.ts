/** The whole head in small, with what is seen of it as a frame: drag the frame, or click where to look. */
import { fit, surface } from "../canvas";
import { axisOf, type HeatGeometry, heatGeometry, type Side } from "../heatgeometry";
import { on } from "../pointing";
import { palette } from "../theme";
import type { View } from "../view";
import { whole } from "../window";
import type { HeatImage } from "./heatimage";
import type { Lens, Point } from "./lens";

/** Sides in CSS pixels. */
const LARGEST = 120;
const SMALLEST = 40;
const GAP = 8;
/** The frame is never smaller than can be seen and grasped. */
const FRAME = 5;

export interface Minimap {
  element: HTMLElement;
  /** Draws it for the plot, in a panel of this width; hides it while half of the head or more is in sight. */
  draw(g: HeatGeometry, image: HeatImage, room: number): void;
}

export function minimap(view: View, lens: Lens): Minimap {
  const { canvas, context } = surface("minimap", "minimap");
  canvas.title = "The whole head. Drag the frame, or click where to look";
  canvas.setAttribute("aria-hidden", "true");
  canvas.hidden = true;
  let mini: HeatGeometry | null = null;
  let grasp: Point | null = null;

  /** The window's frame along a side, in pixels of the overview. */
  const frame = (m: HeatGeometry, side: Side) => {
    const { extent, cell } = axisOf(m, side);
    const [start, stop] = lens.window[side];
    const length = Math.max(FRAME, (stop - start) * cell);
    return { at: Math.max(0, Math.min(extent - length, ((start + stop) * cell - length) / 2)), length };
  };
  /** Puts the middle of the window under a point, less where the frame was grasped. */
  const centre = ({ x, y }: Point) => {
    const m = mini;
    if (!m || !grasp) return;
    const around = (side: Side, pixel: number): [number, number] => {
      const [start, stop] = lens.window[side];
      const from = pixel / axisOf(m, side).cell - (stop - start) / 2;
      return [from, from + stop - start];
    };
    lens.show({ queries: around("queries", y - grasp.y), keys: around("keys", x - grasp.x) });
  };

  on(canvas, "pointerdown", (event) => {
    event.stopPropagation();
    if (event.button !== 0 || !mini) return;
    const [x, y] = [frame(mini, "keys"), frame(mini, "queries")];
    const from = { x: event.offsetX - x.at - x.length / 2, y: event.offsetY - y.at - y.length / 2 };
    const inside = Math.abs(from.x) <= x.length / 2 && Math.abs(from.y) <= y.length / 2;
    grasp = inside ? from : { x: 0, y: 0 };
    canvas.setPointerCapture?.(event.pointerId);
    centre({ x: event.offsetX, y: event.offsetY });
  });
  on(canvas, "pointermove", (event) => {
    event.stopPropagation();
    centre({ x: event.offsetX, y: event.offsetY });
  });
  for (const name of ["pointerup", "pointercancel"] as const)
    on(canvas, name, (event) => {
      event.stopPropagation();
      grasp = null;
      lens.settle();
    });
  for (const name of ["click", "dblclick"] as const) on(canvas, name, (event) => event.stopPropagation());

  return {
    element: canvas,
    draw(g, image, room) {
      const { shown } = view.store;
      const { queries, keys } = shown.value;
      const seen = (g.width / g.cellX / keys) * (g.height / g.cellY / queries);
      const beside = room - g.canvasWidth - GAP;
      const corner = Math.min(g.left, g.top) - GAP;
      const side = beside >= 72 ? Math.min(LARGEST, beside) : Math.max(SMALLEST, corner);
      canvas.hidden = seen >= 0.5;
      if (canvas.hidden) return;
      // Beside the plot if there is room, else where the axes meet; where that is too small, over a corner of the plot.
      const left = beside >= 72 ? g.canvasWidth + GAP : corner >= SMALLEST ? 0 : g.left + g.width - side - 2;
      const top = beside >= 72 ? g.top : corner >= SMALLEST ? 0 : g.top + 2;
      canvas.style.left = `${left}px`;
      canvas.style.top = `${top}px`;
      const { ramp, tile, minus } = view.picture.value;
      const dark = view.dark.value;
      const box = { width: side, height: side, left: 0, top: 0, right: 0, bottom: 0 };
      const m = heatGeometry(shown.value, box, g.ratio);
      mini = m;
      fit({ canvas, context }, m.width, m.height);
      image.draw(
        context,
        m,
        tile ? [{ tile, ...(minus && { minus }), ...whole(shown.value) }] : [],
        ramp,
        dark,
      );
      const colours = palette(dark);
      const [x, y] = [frame(m, "keys"), frame(m, "queries")];
      const outline = (ink: string, weight: number, inset: number) => {
        context.strokeStyle = ink;
        context.lineWidth = weight;
        context.strokeRect(x.at + inset, y.at + inset, x.length - 2 * inset, y.length - 2 * inset);
      };
      context.strokeStyle = colours.rule;
      context.lineWidth = 1;
      context.strokeRect(0.5, 0.5, m.width - 1, m.height - 1);
      outline(colours.halo, 3, 0.5);
      outline(colours.ink, 1, 0.5);
    },
  };
}
