/** The token labels around the heatmap: all of them, every n-th, or ticks, by the room a token has. */
import { elide, prepare, textWidth } from "../canvas";
import { type HeatGeometry, labelStep, type Room, tickStep } from "../heatgeometry";
import type { Shown } from "../state";
import type { Palette } from "../theme";

const ANGLE = -Math.PI / 3;
const LONGEST = 92;
const PAD = 7;

function longest(context: CanvasRenderingContext2D, labels: readonly string[], limit: number): number {
  let best = 0;
  for (const text of labels) {
    best = Math.max(best, textWidth(context, text));
    if (best >= limit) return limit;
  }
  return best;
}

/** The margins that the labels of both axes need inside a panel of this size. */
export function axisRoom(
  context: CanvasRenderingContext2D,
  shown: Shown,
  width: number,
  height: number,
): Room {
  prepare(context);
  const limit = Math.min(LONGEST, width * 0.24);
  const rough = Math.min((width - 60) / shown.keys, (height - 60) / shown.queries);
  if (labelStep(rough) === 0) return { width, height, left: Math.min(76, width * 0.2), top: 22, right: 10 };
  const left = Math.ceil(longest(context, shown.rows.labels, limit)) + PAD + 8;
  const tall = longest(context, shown.columns.labels, limit);
  return {
    width,
    height,
    left,
    top: Math.ceil(tall * Math.sin(-ANGLE)) + PAD + 6,
    right: Math.ceil(tall * Math.cos(ANGLE)) + 2,
  };
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
  context.fillStyle = colours.muted;
  const step = labelStep(Math.min(g.width / shown.keys, g.height / shown.queries));
  if (step === 0) {
    drawTicks(context, g, shown, colours);
    return;
  }
  const cellX = g.width / shown.keys;
  const cellY = g.height / shown.queries;
  context.textAlign = "right";
  const limit = g.left - PAD;
  for (let q = 0; q < shown.queries; q += step)
    context.fillText(
      elide(context, shown.rows.labels[q]!, limit),
      g.left - PAD + 1,
      g.top + (q + 0.5) * cellY + 0.5,
    );
  for (let k = 0; k < shown.keys; k += step) drawKey(context, g, (k + 0.5) * cellX, shown.columns.labels[k]!);
}

/** One slanted label over the middle of a column. */
export function drawKey(context: CanvasRenderingContext2D, g: HeatGeometry, x: number, text: string): void {
  context.save();
  context.translate(g.left + x + 1, g.top - PAD + 1);
  context.rotate(ANGLE);
  context.textAlign = "left";
  context.fillText(elide(context, text, (g.top - PAD - 4) / Math.sin(-ANGLE)), 0, 0);
  context.restore();
}

function drawTicks(context: CanvasRenderingContext2D, g: HeatGeometry, shown: Shown, colours: Palette): void {
  context.strokeStyle = colours.muted;
  context.beginPath();
  const cellX = g.width / shown.keys;
  const cellY = g.height / shown.queries;
  const stepX = tickStep(cellX, 44);
  context.textAlign = "center";
  for (let k = 0; k < shown.keys; k += stepX) {
    const x = Math.round(g.left + (k + 0.5) * cellX) + 0.5;
    context.moveTo(x, g.top - 4);
    context.lineTo(x, g.top);
    context.fillText(String(k), x, g.top - 11);
  }
  const stepY = tickStep(cellY, 32);
  context.textAlign = "right";
  for (let q = 0; q < shown.queries; q += stepY) {
    const y = Math.round(g.top + (q + 0.5) * cellY) + 0.5;
    context.moveTo(g.left - 4, y);
    context.lineTo(g.left, y);
    context.fillText(String(q), g.left - 7, y);
  }
  context.stroke();
}
