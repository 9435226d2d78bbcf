/** What the heatmap shows, in words: which part of the head, and how it came to its pixels. */
import type { HeatGeometry } from "./heatgeometry";
import type { Range } from "./protocol";
import type { HeadShape, Placed } from "./source";
import { isWhole, type Window } from "./window";

const grouped = (n: number) => n.toLocaleString("en");

/** First and last token of which something is in sight. */
export function tokensIn([start, stop]: Range): Range {
  return [Math.floor(start + 1e-6), Math.ceil(stop - 1e-6) - 1];
}

/** `queries 1,200 – 1,455 × keys 0 – 255 of 32,768`; "" for the whole head. */
export function rangeWords(visible: Window, shape: HeadShape): string {
  if (isWhole(visible, shape)) return "";
  const side = (range: Range) => tokensIn(range).map(grouped).join(" – ");
  const [queries, keys] = [side(visible.queries), side(visible.keys)];
  return shape.queries === shape.keys
    ? `queries ${queries} × keys ${keys} of ${grouped(shape.keys)}`
    : `queries ${queries} of ${grouped(shape.queries)} × keys ${keys} of ${grouped(shape.keys)}`;
}

/** How many queries and keys share one colour: those under a cell of the finest tile, or under a device pixel. */
export function pooling(g: HeatGeometry, placed: readonly Placed[]): [down: number, across: number] {
  const best = placed.at(-1);
  if (!best) return [1, 1];
  const cell = ([start, stop]: Range, cells: number) =>
    best.level === undefined ? (stop - start) / cells : 2 ** best.level;
  const under = (tokens: number, size: number) => Math.ceil(Math.max(tokens, 1 / (size * g.ratio)) - 1e-6);
  return [
    under(cell(best.queries, best.tile.height), g.cellY),
    under(cell(best.keys, best.tile.width), g.cellX),
  ];
}

/** What the legend says about pixels that stand for many pairs, and about queries that were not looked at. */
export function pixelWords(g: HeatGeometry, placed: readonly Placed[], progress: number | null): string {
  const [down, across] = pooling(g, placed);
  const rows = placed.at(-1)?.tile.rows;
  const words: string[] = [];
  if (down * across > 1) words.push(`max of up to ${grouped(down)} × ${grouped(across)}`);
  if (rows && rows < down)
    words.push(
      `sampled: ${grouped(rows)} of ${grouped(down)} queries looked at${progress === null ? "" : ", refining"}`,
    );
  return words.join(" · ");
}
