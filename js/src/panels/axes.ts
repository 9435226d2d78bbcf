/** The token labels around the heatmap: all of them, every n-th, or ticks, by the room a token has. */
import { elide, prepare, textWidth } from "../canvas";
import { type HeatGeometry, labelStep, type Room, tickStep } from "../heatgeometry";
import type { Range } from "../protocol";
import type { Shown } from "../state";
import type { Palette } from "../theme";
import { drawRails } from "./rails";
import { STRIP_ROOM } from "./strips";

const ANGLE = -Math.PI / 3;
const LONGEST = 92;
const PAD = 7;
/** Ticks need less; but a window has labels, and the plot must not jump when they come. */
const TICKS = { left: 76, top: 52, right: 20 };

function longest(context: CanvasRenderingContext2D, labels: readonly string[], limit: number): number {
  let best = 0;
  for (const text of labels) {
    best = Math.max(best, textWidth(context, text));
    if (best >= limit) return limit;
  }
  return best;
}

/** The margins that the labels of both axes need inside a panel of this size, in any window. */
export function axisRoom(
  context: CanvasRenderingContext2D,
  shown: Shown,
  width: number,
  height: number,
): Room {
  prepare(context);
  const bottom = STRIP_ROOM + 1;
  const limit = Math.min(LONGEST, width * 0.24);
  const rough = Math.min((width - 60) / shown.keys, (height - 60) / shown.queries);
  if (labelStep(rough) === 0)
    return { width, height, bottom, ...TICKS, left: Math.min(TICKS.left, width * 0.2) };
  const left = Math.ceil(longest(context, shown.rows.labels, limit)) + PAD + 8;
  const tall = longest(context, shown.columns.labels, limit);
  return {
    width,
    height,
    left,
    top: Math.ceil(tall * Math.sin(-ANGLE)) + PAD + 6,
    right: Math.max(STRIP_ROOM + 1, Math.ceil(tall * Math.cos(ANGLE)) + 2),
    bottom,
  };
}

/** Multiples of `step` whose middles are in sight, with those middles from the edge of the plot; never more than there is room for. */
function* marks([start, stop]: Range, step: number, cell: number): Generator<[index: number, at: number]> {
  for (let i = Math.ceil((start - 0.5) / step) * step; i + 0.5 <= stop; i += step)
    yield [i, (i + 0.5 - start) * cell];
}

export function drawAxes(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  colours: Palette,
): void {
  context.strokeStyle = colours.rule;
  context.lineWidth = 1;
  context.strokeRect(g.left - 0.5, g.top - 0.5, g.width + 1, g.height + 1);
  drawRails(context, g, shown, colours);
  context.strokeStyle = colours.muted;
  context.fillStyle = colours.muted;
  context.beginPath();
  drawKeys(context, g, shown.columns.labels);
  drawQueries(context, g, shown.rows.labels);
  context.stroke();
}

function drawKeys(context: CanvasRenderingContext2D, g: HeatGeometry, labels: readonly string[]): void {
  const step = labelStep(g.cellX);
  if (step) {
    for (const [k, x] of marks(g.visible.keys, step, g.cellX)) drawKey(context, g, x, labels[k]!);
    return;
  }
  context.textAlign = "center";
  for (const [k, at] of marks(g.visible.keys, tickStep(g.cellX, 44), g.cellX)) {
    const x = Math.round(g.left + at) + 0.5;
    context.moveTo(x, g.top - 4);
    context.lineTo(x, g.top);
    context.fillText(String(k), x, g.top - 11);
  }
}

function drawQueries(context: CanvasRenderingContext2D, g: HeatGeometry, labels: readonly string[]): void {
  const step = labelStep(g.cellY);
  context.textAlign = "right";
  for (const [q, at] of marks(g.visible.queries, step || tickStep(g.cellY, 32), g.cellY)) {
    if (step) {
      context.fillText(elide(context, labels[q]!, g.left - PAD), g.left - PAD + 1, g.top + at + 0.5);
      continue;
    }
    const y = Math.round(g.top + at) + 0.5;
    context.moveTo(g.left - 4, y);
    context.lineTo(g.left, y);
    context.fillText(String(q), g.left - 7, y);
  }
}

/** One slanted label over the middle of a column. */
function drawKey(context: CanvasRenderingContext2D, g: HeatGeometry, x: number, text: string): void {
  const high = (g.top - PAD - 4) / Math.sin(-ANGLE);
  const wide = (g.canvasWidth - g.left - x) / Math.cos(ANGLE);
  context.save();
  context.translate(g.left + x + 1, g.top - PAD + 1);
  context.rotate(ANGLE);
  context.textAlign = "left";
  context.fillText(elide(context, text, Math.min(high, wide)), 0, 0);
  context.restore();
}
