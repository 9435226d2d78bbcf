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

/** The side in tokens of a tile's cells: down and across. */
function cellOf({ tile, queries, keys, level }: Placed): Range {
  if (level !== undefined) return [2 ** level, 2 ** level];
  return [(queries[1] - queries[0]) / tile.height, (keys[1] - keys[0]) / tile.width];
}

/** The tile whose cells are the largest that are to be seen: finer ones count once they cover the window. */
function coarsest({ visible }: HeatGeometry, placed: readonly Placed[]): Placed | undefined {
  const overlap = ([a, b]: Range, [c, d]: Range) => Math.max(0, Math.min(b, d) - Math.max(a, c)) / (d - c);
  let covered = 0;
  let cell = 0;
  for (const one of placed.toReversed()) {
    const [own] = cellOf(one);
    if (own !== cell) covered = 0;
    cell = own;
    covered += overlap(one.queries, visible.queries) * overlap(one.keys, visible.keys);
    if (covered > 0.999) return one;
  }
  return placed[0];
}

/** What the legend says about pixels that stand for many pairs, and about queries that were not looked at. */
export function pixelWords(g: HeatGeometry, placed: readonly Placed[], progress: number | null): string {
  const tile = coarsest(g, placed);
  if (!tile) return "";
  const under = (tokens: number, size: number) => Math.ceil(Math.max(tokens, 1 / (size * g.ratio)) - 1e-6);
  const [high, wide] = cellOf(tile);
  const [down, across] = [under(high, g.cellY), under(wide, g.cellX)];
  const words = down * across > 1 ? [`max of up to ${grouped(down)} × ${grouped(across)}`] : [];
  const { rows } = tile.tile;
  const all = Math.ceil(high - 1e-6);
  if (rows && rows < all)
    words.push(
      `sampled: ${grouped(rows)} of ${grouped(all)} queries looked at${progress === null ? "" : ", refining"}`,
    );
  return words.join(" · ");
}
