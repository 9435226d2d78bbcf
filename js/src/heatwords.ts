/** What the heatmap shows, in words: which part of the head, and how it came to its pixels. */

import type { HeadShape } from "./datasource";
import { grouped } from "./format";
import type { HeatGeometry, Side } from "./heatgeometry";
import type { Sight } from "./layers";
import type { Range } from "./protocol";
import { isWhole, type Window } from "./window";

/** First and last token of which something is in sight. */
export function tokensIn([start, stop]: Range): Range {
  return [Math.floor(start + 1e-6), Math.ceil(stop - 1e-6) - 1];
}

/** `1,200 – 1,455 × 0 – 255 of 32,768`, beside "Queries × keys"; "" for the whole head. */
export function rangeWords(visible: Window, shape: HeadShape): string {
  if (isWhole(visible, shape)) return "";
  const side = (range: Range) => tokensIn(range).map(grouped).join(" – ");
  const [queries, keys] = [side(visible.queries), side(visible.keys)];
  return shape.queries === shape.keys
    ? `${queries} × ${keys} of ${grouped(shape.keys)}`
    : `${queries} of ${grouped(shape.queries)} × ${keys} of ${grouped(shape.keys)}`;
}

/** What the legend says about pixels that stand for many pairs, and about queries that were not looked at. */
export function pixelWords(g: HeatGeometry, sight: Sight, progress: number | null): string {
  const { level, rows } = sight;
  const base = sight.placed[0];
  if (!base) return "";
  const cell = (side: Side, bins: number) =>
    level === null ? (base[side][1] - base[side][0]) / bins : 2 ** level;
  const under = (tokens: number, size: number) => Math.ceil(Math.max(tokens, 1 / (size * g.ratio)) - 1e-6);
  const high = cell("queries", base.tile.height);
  const [down, across] = [under(high, g.cellY), under(cell("keys", base.tile.width), g.cellX)];
  const words = down * across > 1 ? [`max of up to ${grouped(down)} × ${grouped(across)}`] : [];
  const all = Math.ceil(high - 1e-6);
  if (rows && rows < all)
    words.push(
      `sampled: ${grouped(rows)} of ${grouped(all)} queries looked at${progress === null ? "" : ", refining"}`,
    );
  return words.join(" · ");
}
