/** What is written and marked around the small pictures: numbers, names, key-value heads, windows; and cells of one colour. */
import { hatch, textWidth } from "../canvas";
import { colourAt, inkOn, positions } from "../colour";
import { keyHead, windowOf } from "../finder";
import { formatEnd } from "../format";
import { cornerOf, type GridGeometry, placeOf } from "../gridgeometry";
import type { Scale } from "../protocol";
import type { HeadIndex } from "../state";
import { palette } from "../theme";
import type { View } from "../view";

export interface Seen {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Heads as cells of one colour each, with their numbers where these fit. */
export function drawCells(
  view: View,
  context: CanvasRenderingContext2D,
  g: GridGeometry,
  heads: readonly HeadIndex[],
  seen: Seen,
): void {
  const { store, finder } = view;
  const { values, range } = finder.colour.value!;
  const dark = view.dark.value;
  const colours = palette(dark);
  const scale: Scale = store.colour_by.value === "pair" ? store.scale.value : "linear";
  const position = positions(scale, range);
  const none = hatch(context, colours);
  context.textAlign = "center";
  for (const head of heads) {
    const corner = cornerOf(g, placeOf(g, head));
    const [x, y] = [corner.x - seen.x, corner.y - seen.y];
    const value = values[head.layer * store.shown.value.stack.heads + head.head]!;
    const rgb = colourAt(position(value), store.colormap.value, dark);
    context.fillStyle = value >= 0 ? `rgb(${rgb})` : value < 0 ? `rgb(${colours.missing})` : none;
    context.fillRect(x, y, g.width, g.height);
    const text = formatEnd(value);
    if (!(value >= 0) || g.height < 12 || textWidth(context, text) > g.width - 2) continue;
    context.fillStyle = inkOn(rgb);
    context.fillText(text, x + g.width / 2, y + g.height / 2 + 0.5);
  }
}

/** The names of heads in a flow, each above its picture. */
export function drawNames(
  view: View,
  context: CanvasRenderingContext2D,
  g: GridGeometry,
  heads: readonly HeadIndex[],
  seen: Seen,
): void {
  context.fillStyle = palette(view.dark.value).muted;
  context.textAlign = "left";
  for (const { layer, head } of heads) {
    const { x, y } = cornerOf(g, placeOf(g, { layer, head }));
    context.fillText(`${layer}.${head}`, x - seen.x, y - seen.y - 6.5);
  }
}

/** The numbers of layers and heads beside a matrix, over whatever is scrolled under them. */
export function drawMargins(
  view: View,
  context: CanvasRenderingContext2D,
  g: GridGeometry,
  seen: Seen,
): void {
  const { store } = view;
  const colours = palette(view.dark.value);
  const { layers, heads } = store.shown.value.stack;
  context.fillStyle = colours.page;
  context.fillRect(0, 0, g.left - 2, seen.height);
  context.fillRect(0, 0, seen.width, g.top - 2);
  context.fillStyle = context.strokeStyle = colours.muted;
  context.textAlign = "center";
  for (let n = 0, step = Math.ceil(19 / g.pitchX); n < heads; n += step) {
    const x = g.left + n * g.pitchX + g.width / 2 - seen.x;
    if (x > g.left) context.fillText(String(n), x, g.top - 9);
  }
  context.lineWidth = 1.5;
  for (let n = 0, shared = groupAt(view, 0); shared; n = shared.heads[1] + 1, shared = groupAt(view, n)) {
    if (n >= heads) break;
    const left = Math.max(g.left, g.left + n * g.pitchX - seen.x);
    const right = g.left + shared.heads[1] * g.pitchX + g.width - seen.x;
    if (right <= left) continue;
    context.beginPath();
    context.moveTo(left, 6);
    context.lineTo(left, 2);
    context.lineTo(right, 2);
    context.lineTo(right, 6);
    context.stroke();
  }
  context.textAlign = "right";
  context.lineWidth = 2.5;
  for (let n = 0, step = Math.ceil(13 / g.pitchY); n < layers; n++) {
    const y = g.top + n * g.pitchY + g.height / 2 - seen.y;
    if (y <= g.top) continue;
    if (n % step === 0) context.fillText(String(n), g.left - 7, y + 0.5);
    if (!windowOf(store, n)) continue;
    const half = Math.min(4, g.height / 2 - 1);
    context.beginPath();
    context.moveTo(2, y - half);
    context.lineTo(2 + 2 * half, y + half);
    context.stroke();
  }
}

/** The key-value head that stands above a column: where all layers share them alike. */
export function groupAt(view: View, head: number) {
  const counts = view.store.shown.value.stack.key_heads;
  return counts?.every((count) => count === counts[0]) ? keyHead(view.store, { layer: 0, head }) : null;
}

/** What is under the pointer beside the pictures, in words. */
export function marginWords(view: View, g: GridGeometry, seen: Seen, x: number, y: number): string {
  if (g.flow) return "";
  const column = Math.floor((x + seen.x - g.left) / g.pitchX);
  const row = Math.floor((y + seen.y - g.top) / g.pitchY);
  const shared = y <= g.top && x > g.left && column < g.columns ? groupAt(view, column) : null;
  if (shared) return `kv ${shared.index} · heads ${shared.heads.join("–")}`;
  const window = x <= g.left && y > g.top && row * g.columns < g.count ? windowOf(view.store, row) : null;
  return window ? `layer ${row} · window ${window}` : "";
}
