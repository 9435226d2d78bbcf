/** What is written and marked around the small pictures of a matrix: numbers, key-value heads, windows. */
import type { GridGeometry } from "../gridgeometry";
import { keyHead, windowWords } from "../keyheads";
import { palette } from "../theme";
import type { View } from "../view";

export interface Seen {
  x: number;
  y: number;
  width: number;
  height: number;
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
  const { layers, heads, measure } = store.shown.value.stack;
  context.fillStyle = colours.page;
  context.fillRect(0, 0, g.left - 2, seen.height);
  context.fillRect(0, 0, seen.width, g.top - 2);
  context.fillStyle = context.strokeStyle = colours.muted;
  const stroke = (weight: number, ...points: [number, number][]) => {
    context.lineWidth = weight;
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x, y);
    context.stroke();
  };
  context.textAlign = "center";
  for (let n = 0, step = Math.ceil(19 / g.pitchX); n < heads; n++) {
    const x = g.left + n * g.pitchX - seen.x;
    if (!measure?.whole && n % step === 0 && x + g.width / 2 > g.left)
      context.fillText(String(n), x + g.width / 2, g.top - 9);
    const [first, last] = groupAt(view, n)?.heads ?? [];
    const [left, right] = [Math.max(g.left, x) + 1, x + (last! - n) * g.pitchX + g.width - 1];
    if (n === first && right > left) stroke(1.5, [left, 6], [left, 2], [right, 2], [right, 6]);
  }
  context.textAlign = "right";
  for (let n = 0, step = Math.ceil(13 / g.pitchY); n < layers; n++) {
    const y = g.top + n * g.pitchY + g.height / 2 - seen.y;
    if (y <= g.top) continue;
    if (n % step === 0) context.fillText(String(n), g.left - 7, y + 0.5);
    if (windowWords(store, n)) stroke(2.5, [2, y - 3], [9, y + 3]);
  }
}

/** The key-value head that stands above a column: where all layers share them alike. */
export function groupAt({ store }: View, head: number) {
  const counts = store.shown.value.stack.key_heads;
  return counts?.every((count) => count === counts[0]) ? keyHead(store, { layer: 0, head }) : null;
}

/** What the pointer is at beside the pictures, in words. */
export function marginWords(view: View, g: GridGeometry, x: number, y: number): string {
  const head = Math.floor((x - g.left) / g.pitchX);
  const layer = Math.floor((y - g.top) / g.pitchY);
  if (g.flow || (head >= 0 && layer >= 0)) return "";
  const shared = groupAt(view, head);
  if (head >= 0) return shared ? `kv ${shared.index} · heads ${shared.heads.join("–")}` : "";
  return windowWords(view.store, layer);
}
