/** What is focused and what is locked, drawn over the heatmap without touching its cells. */
import { chip, elide, textWidth } from "../canvas";
import { type HeatGeometry, labelStep, tickStep } from "../heatgeometry";
import type { Pair, Shown } from "../state";
import type { Palette } from "../theme";

export function drawCrosshair(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  focus: Pair,
  locked: Pair,
  colours: Palette,
): void {
  const cellX = g.width / shown.keys;
  const cellY = g.height / shown.queries;
  const bands = (pair: Pair, ink: string) => {
    if (pair.query !== null)
      band(context, g.left, g.top + pair.query * cellY, g.width, cellY, ink, colours.halo);
    if (pair.key !== null)
      band(context, g.left + pair.key * cellX, g.top, cellX, g.height, ink, colours.halo);
  };
  const moved = focus.query !== locked.query || focus.key !== locked.key;
  if (moved) bands(focus, colours.ink);
  bands(locked, colours.accent);
  if (focus.query !== null)
    queryLabel(context, g, shown, focus.query, cellY, focus.query === locked.query, colours);
  if (focus.key !== null) keyLabel(context, g, shown, focus.key, cellX, focus.key === locked.key, colours);
}

/** The two long edges of a row or a column, inked over a halo so that they show on any colour. */
function band(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  ink: string,
  halo: string,
): void {
  const grow = Math.max(0, 3 - Math.min(width, height)) / 2;
  const across = width >= height;
  const [a, b, c, d] = across
    ? [x, y - grow, x + width, y + height + grow]
    : [x - grow, y, x + width + grow, y + height];
  const path = () => {
    context.beginPath();
    context.rect(a - 0.5, b - 0.5, c - a + 1, d - b + 1);
    context.stroke();
  };
  context.lineWidth = 3;
  context.strokeStyle = halo;
  path();
  context.lineWidth = 1;
  context.strokeStyle = ink;
  path();
}

/** An edge, moved out by half a label where it would cut one; labels stand every `pitch` pixels from `first` on. */
function clearOf(edge: number, by: number, pitch: number, first: number, half: number): number {
  const label = first + Math.round((edge - first) / pitch) * pitch;
  return Math.abs(edge - label) < half ? label + by * half : edge;
}

function queryLabel(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  query: number,
  cell: number,
  locked: boolean,
  colours: Palette,
): void {
  const { labels } = shown.rows;
  const y = Math.max(9, Math.min(g.top + g.height - 8, g.top + (query + 0.5) * cell));
  const fill = locked ? colours.accent : colours.ink;
  const step = labelStep(cell);
  if (step !== 1) {
    const reach = step ? 8 : 23;
    const far = (by: number) =>
      clearOf(y + by * reach, by, (step || tickStep(cell, 32)) * cell, g.top + cell / 2, 7);
    context.fillStyle = colours.page;
    context.fillRect(0, far(-1), g.left - 5, far(1) - far(-1));
  }
  if (step === 0) {
    // No labels on this axis: three tokens of context, so that the place in the text is known.
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    for (const by of [-1, 1])
      context.fillText(elide(context, labels[query + by] ?? "", g.left - 14), g.left - 10, y + by * 15);
  }
  chip(context, elide(context, labels[query]!, g.left - 13), g.left - 4, y, "right", fill, colours.page);
}

function keyLabel(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  key: number,
  cell: number,
  locked: boolean,
  colours: Palette,
): void {
  const { labels } = shown.columns;
  const fill = locked ? colours.accent : colours.ink;
  const x = g.left + (key + 0.5) * cell;
  if (labelStep(cell) !== 0) {
    const text = elide(context, labels[key]!, (g.top - 11) / Math.sin(Math.PI / 3));
    context.save();
    context.translate(x + 1, g.top - 6);
    context.rotate(-Math.PI / 3);
    chip(context, text, -4, 0, "left", fill, colours.page);
    context.restore();
    return;
  }
  const before = elide(context, labels[key - 1] ?? "", 70);
  const word = elide(context, labels[key]!, 110);
  const after = elide(context, labels[key + 1] ?? "", 70);
  const half = (textWidth(context, word) + 8) / 2;
  const total = [before, after].map((t) => textWidth(context, t) + 6) as [number, number];
  const middle = Math.max(half + total[0], Math.min(g.canvasWidth - half - total[1], x));
  const edge = (at: number, by: number) => clearOf(at, by, tickStep(cell, 44) * cell, g.left + cell / 2, 14);
  const from = edge(middle - half - total[0], -1);
  context.fillStyle = colours.page;
  context.fillRect(from, 0, edge(middle + half + total[1], 1) - from, 17);
  context.fillStyle = colours.muted;
  context.textAlign = "right";
  context.fillText(before, middle - half - 4, 9);
  context.textAlign = "left";
  context.fillText(after, middle + half + 4, 9);
  chip(context, word, middle, 9, "center", fill, colours.page);
}
