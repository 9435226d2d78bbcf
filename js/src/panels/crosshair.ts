/** What is focused and what is locked, drawn over the heatmap without touching its cells. */
import { chip, elide, textWidth } from "../canvas";
import { axisOf, edgeOf, type HeatGeometry, labelStep, type Side, tickStep } from "../heatgeometry";
import type { Pair, Shown } from "../state";
import type { Palette } from "../theme";
import { isWhole } from "../window";

/** Whether anything of a token is in the window. */
const inSight = (g: HeatGeometry, side: Side, token: number) =>
  token + 1 > g.visible[side][0] && token < g.visible[side][1];

export function drawCrosshair(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  focus: Pair,
  locked: Pair,
  colours: Palette,
): void {
  const bands = ({ query, key }: Pair, ink: string) => {
    const stripe = (side: Side, token: number | null) => {
      if (token === null || !inSight(g, side, token)) return;
      const { from, extent } = axisOf(g, side);
      const start = Math.max(from, edgeOf(g, side, token));
      const thick = Math.min(from + extent, edgeOf(g, side, token + 1)) - start;
      if (side === "keys") band(context, start, g.top, thick, g.height, ink, colours.halo);
      else band(context, g.left, start, g.width, thick, ink, colours.halo);
    };
    stripe("queries", query);
    stripe("keys", key);
  };
  const moved = focus.query !== locked.query || focus.key !== locked.key;
  if (moved) bands(focus, colours.ink);
  bands(locked, colours.accent);
  for (const side of ["query", "key"] as const) {
    const [axis, own, fixed] = [side === "key" ? "keys" : "queries", focus[side], locked[side]] as const;
    const fill = own === fixed ? colours.accent : colours.ink;
    if (fixed !== null && fixed !== own) outside(context, g, axis, fixed, colours.accent, colours.page);
    if (own === null || outside(context, g, axis, own, fill, colours.page)) continue;
    (side === "key" ? keyLabel : queryLabel)(context, g, shown, own, fill, colours);
  }
}

/** A token out of sight: an arrow with its index at the edge where it lies. Returns whether it was. */
function outside(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  side: Side,
  token: number,
  fill: string,
  ink: string,
): boolean {
  if (inSight(g, side, token)) return false;
  const before = token < g.visible[side][0];
  if (side === "keys") {
    // Under the plot: over it are the labels.
    const text = before ? `◂ ${token}` : `${token} ▸`;
    const x = before ? g.left : g.left + g.width;
    chip(context, text, x, g.top + g.height + 8, before ? "left" : "right", fill, ink);
  } else {
    const y = before ? g.top + 8 : g.top + g.height - 8;
    chip(context, `${before ? "▴" : "▾"} ${token}`, g.left - 3, y, "right", fill, ink);
  }
  return true;
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

/** Where the corner of the axes ends, which the overview has as soon as there is a window. */
function cornerEnd(g: HeatGeometry, shown: Shown): { right: number; bottom: number } {
  return isWhole(g.visible, shown) ? { right: 0, bottom: 0 } : { right: g.left - 4, bottom: g.top - 4 };
}

function queryLabel(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  query: number,
  fill: string,
  colours: Palette,
): void {
  const { labels } = shown.rows;
  const { from, start, cell } = axisOf(g, "queries");
  const at = (token: number) => from + (token + 0.5 - start) * cell;
  const y = Math.max(g.top + 4, Math.min(g.top + g.height - 4, at(query)));
  const step = labelStep(cell);
  if (step !== 1) {
    const reach = step ? 8 : 23;
    const far = (by: number) => clearOf(y + by * reach, by, (step || tickStep(cell, 32)) * cell, at(0), 7);
    context.fillStyle = colours.page;
    context.fillRect(0, far(-1), g.left - 5, far(1) - far(-1));
  }
  if (step === 0) {
    // No labels on this axis: three tokens of context, so that the place in the text is known.
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    for (const by of y - 15 < cornerEnd(g, shown).bottom ? [1] : [-1, 1])
      context.fillText(elide(context, labels[query + by] ?? "", g.left - 14), g.left - 10, y + by * 15);
  }
  chip(context, elide(context, labels[query]!, g.left - 13), g.left - 4, y, "right", fill, colours.page);
}

function keyLabel(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  key: number,
  fill: string,
  colours: Palette,
): void {
  const { labels } = shown.columns;
  const { from: origin, start: first, cell } = axisOf(g, "keys");
  const at = (token: number) => origin + (token + 0.5 - first) * cell;
  const x = Math.max(g.left + 4, Math.min(g.left + g.width - 4, at(key)));
  if (labelStep(cell) !== 0) {
    const text = elide(context, labels[key]!, (g.top - 11) / Math.sin(Math.PI / 3));
    context.save();
    context.translate(x + 1, g.top - 6);
    context.rotate(-Math.PI / 3);
    chip(context, text, -4, 0, "left", fill, colours.page);
    context.restore();
    return;
  }
  const start = cornerEnd(g, shown).right;
  const before = x < start + 90 && start ? "" : elide(context, labels[key - 1] ?? "", 70);
  const word = elide(context, labels[key]!, 110);
  const after = elide(context, labels[key + 1] ?? "", 70);
  const half = (textWidth(context, word) + 8) / 2;
  const total = [before, after].map((t) => textWidth(context, t) + 6) as [number, number];
  const middle = Math.max(start + half + total[0], Math.min(g.canvasWidth - half - total[1], x));
  const tick = textWidth(context, String(shown.keys)) / 2 + 2;
  const edge = (x: number, by: number) => clearOf(x, by, tickStep(cell, 44) * cell, at(0), tick);
  const from = edge(middle - half - total[0], -1);
  context.fillStyle = colours.page;
  const y = g.top - 13;
  context.fillRect(from, y - 9, edge(middle + half + total[1], 1) - from, 17);
  context.fillStyle = colours.muted;
  context.textAlign = "right";
  context.fillText(before, middle - half - 4, y);
  context.textAlign = "left";
  context.fillText(after, middle + half + 4, y);
  chip(context, word, middle, y, "center", fill, colours.page);
}
