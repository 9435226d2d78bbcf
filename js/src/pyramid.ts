/**
 * The pyramid of a head: level l has cells of 2^l tokens a side and tiles of PYRAMID_TILE cells a side, counted from the
 * first token. The last cells and tiles of a head may be cut short.
 */

import type { HeadShape } from "./datasource";
import { PYRAMID_TILE, type Range, TILE } from "./protocol";
import type { Window } from "./window";

export interface Place {
  level: number;
  row: number;
  column: number;
}

/** Tokens a side under a tile. */
export const spanOf = (level: number) => PYRAMID_TILE * 2 ** level;

/** The coarsest level whose cells are no larger than a device pixel, at `scale` device pixels a token. */
export const levelFor = (scale: number) => Math.max(0, Math.floor(-Math.log2(scale)));

/** Tokens a side, at most, under a cell of the picture of a whole head. */
const wholeCell = ({ queries, keys }: HeadShape) => Math.max(1, queries / TILE, keys / TILE);

/** The number of levels that are finer than the picture of the whole head. */
export const levels = (shape: HeadShape) => Math.ceil(Math.log2(wholeCell(shape)));

/** The level that a window needs at a scale, or null where the picture of the whole head is as fine as the pixels. */
export function neededLevel(shape: HeadShape, scale: number): number | null {
  const cell = wholeCell(shape);
  return cell === 1 || cell * scale <= 1 ? null : levelFor(scale);
}

const along = ([start, stop]: Range, n: number, span: number): Range => [
  Math.max(0, Math.floor(start / span)),
  Math.ceil(Math.min(stop, n) / span),
];

/** The tiles of a level that lie over a window, from its middle out. */
export function tilesOver({ queries, keys }: Window, shape: HeadShape, level: number): Place[] {
  const span = spanOf(level);
  const [top, bottom] = along(queries, shape.queries, span);
  const [left, right] = along(keys, shape.keys, span);
  const found: Place[] = [];
  for (let row = top; row < bottom; row++)
    for (let column = left; column < right; column++) found.push({ level, row, column });
  const [y, x] = [queries, keys].map(([a, b]) => (a + b) / 2 / span - 0.5) as [number, number];
  const far = (p: Place) => (p.row - y) ** 2 + (p.column - x) ** 2;
  return found.sort((a, b) => far(a) - far(b));
}

/** The tokens under a tile. */
export function rangesOf({ level, row, column }: Place, { queries, keys }: HeadShape): Window {
  const span = spanOf(level);
  const range = (i: number, n: number): Range => [i * span, Math.min(n, (i + 1) * span)];
  return { queries: range(row, queries), keys: range(column, keys) };
}

/** The tiles one level finer that a tile stands for; of those, the ones over a window. */
export function childrenOf(place: Place, shape: HeadShape, window?: Window): Place[] {
  if (!place.level) return [];
  const children = tilesOver(rangesOf(place, shape), shape, place.level - 1);
  const meet = ([a, b]: Range, [c, d]: Range) => a < d && c < b;
  return children.filter((child) => {
    const { queries, keys } = rangesOf(child, shape);
    return !window || (meet(queries, window.queries) && meet(keys, window.keys));
  });
}

/** What the eye may need next: the window with a ring around it, and its middle one level finer and one coarser. */
export function neighbours({ queries, keys }: Window, shape: HeadShape, level: number): Place[] {
  const span = spanOf(level);
  const grown = ([a, b]: Range): Range => [a - span, b + span];
  const middle = ([a, b]: Range): Range => [(a + b) / 2, (a + b) / 2 + 1e-6];
  const centre = { queries: middle(queries), keys: middle(keys) };
  return [
    ...tilesOver({ queries: grown(queries), keys: grown(keys) }, shape, level),
    ...[level - 1, level + 1]
      .filter((other) => other >= 0 && other < levels(shape))
      .flatMap((other) => tilesOver(centre, shape, other)),
  ];
}
