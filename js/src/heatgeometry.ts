/** Where the cells of the heatmap are. The whole head has integral device pixels; a window fills the same plot. */

import type { HeadShape } from "./datasource";
import { PYRAMID_TILE } from "./protocol";
import { longest, type Window, whole as wholeHead } from "./window";

export interface HeatGeometry {
  /** The plot inside the canvas, in CSS pixels; whole device pixels. */
  left: number;
  top: number;
  width: number;
  height: number;
  canvasWidth: number;
  canvasHeight: number;
  /** Device pixels per CSS pixel. */
  ratio: number;
  /** What of the head fills the plot. */
  visible: Window;
  /** One token in CSS pixels: as high as it is wide, unless a window says otherwise. */
  cellX: number;
  cellY: number;
}

export interface Room {
  width: number;
  height: number;
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export type Side = "queries" | "keys";

const MAX_CELL = 64;
/** A plot that square cells would make thinner than this, in CSS pixels, gets higher or wider cells instead. */
const THIN = 48;
const LEAST_SIDE = 120;
/**
 * Pixels and pointers look at this much right of the middle of a device pixel. Where a middle falls on the edge of two cells,
 * the canvas and we would else round it each to another one.
 */
export const NUDGE = 0.01;

export function heatGeometry(shape: HeadShape, room: Room, ratio: number, visible?: Window): HeatGeometry {
  const { queries, keys } = shape;
  const left = Math.ceil(room.left * ratio);
  const top = Math.ceil(room.top * ratio);
  const wide = Math.max(8, Math.floor((room.width - room.right) * ratio) - left);
  const high = Math.max(8, Math.floor((room.height - room.bottom) * ratio) - top);
  const fit = Math.min(wide / keys, high / queries);
  const whole = (cell: number) =>
    cell >= 1 ? Math.min(Math.floor(cell), Math.round(MAX_CELL * ratio)) : cell;
  const side = (n: number, room: number) => {
    const square = n * whole(fit);
    const least = Math.min(LEAST_SIDE * ratio, room) / n;
    return Math.max(1, Math.floor(square < THIN * ratio ? n * Math.max(whole(least), whole(fit)) : square));
  };
  const width = side(keys, wide) / ratio;
  const height = side(queries, high) / ratio;
  const shown = visible ?? wholeHead(shape);
  return {
    left: left / ratio,
    top: top / ratio,
    width,
    height,
    canvasWidth: left / ratio + width + room.right,
    canvasHeight: top / ratio + height + room.bottom,
    ratio,
    visible: shown,
    cellX: width / (shown.keys[1] - shown.keys[0]),
    cellY: height / (shown.queries[1] - shown.queries[0]),
  };
}

/** Tiles along a side that a view of a head may need at most. */
const MOST_TILES = 64;

/**
 * Device pixels for the longer side of the window, at which tiles are asked for: as many as its cells have on their longer
 * side, less where a long strip would take too many tiles.
 */
export function tileExtent({ visible, cellX, cellY, ratio }: HeatGeometry): number {
  return Math.min(Math.max(cellX, cellY) * ratio * longest(visible), MOST_TILES * PYRAMID_TILE);
}

/** One side of the plot: where it starts and how long it is, and what is seen there: from which token on, how large. */
export interface Axis {
  from: number;
  extent: number;
  start: number;
  stop: number;
  cell: number;
}

export function axisOf(g: HeatGeometry, side: Side): Axis {
  const [start, stop] = g.visible[side];
  return side === "keys"
    ? { from: g.left, extent: g.width, start, stop, cell: g.cellX }
    : { from: g.top, extent: g.height, start, stop, cell: g.cellY };
}

/** Where in the head a place of the canvas is, in tokens with fractions; beyond the plot it goes on. */
export function placeAt(g: HeatGeometry, side: Side, offset: number): number {
  const { from, start, cell } = axisOf(g, side);
  return start + (offset - from) / cell;
}

/** The token under the pointer, the one whose colour the pixel has, or null outside of the plot. */
export function tokenAt(g: HeatGeometry, side: Side, offset: number): number | null {
  const { from, extent, cell } = axisOf(g, side);
  const pixel = Math.floor((offset - from) * g.ratio + 1e-6);
  if (pixel < 0 || pixel >= Math.round(extent * g.ratio)) return null;
  // Where tokens share a pixel, the pointer may stand on a part of it.
  const at = cell * g.ratio < 1 ? offset : from + (pixel + 0.5 + NUDGE) / g.ratio;
  return Math.floor(placeAt(g, side, at));
}

/** Where a token starts, on the edge of a device pixel. */
export function edgeOf(g: HeatGeometry, side: Side, token: number): number {
  const { from, start, cell } = axisOf(g, side);
  return from + Math.ceil((token - start) * cell * g.ratio - 0.5 - NUDGE) / g.ratio;
}

/** How many cells lie between two labels, from the pixels one cell has. 0: no labels, only ticks. */
export function labelStep(cell: number): number {
  if (cell >= 14) return 1;
  return cell >= 6 ? Math.ceil(14 / cell) : 0;
}

/** A round distance between ticks that are at least `gap` pixels apart. */
export function tickStep(cell: number, gap: number): number {
  for (let power = 1; ; power *= 10) for (const m of [1, 2, 5]) if (m * power * cell >= gap) return m * power;
}

/** The index under a pixel, or null outside. */
export function indexAt(offset: number, extent: number, n: number): number | null {
  if (offset < 0 || offset >= extent) return null;
  return Math.min(n - 1, Math.floor((offset / extent) * n));
}
