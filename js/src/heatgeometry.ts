/** Where the cells of the heatmap are: integral device pixels, square, as large as fits. */
export interface HeatGeometry {
  /** Of cell (0, 0), in CSS pixels inside the canvas. */
  left: number;
  top: number;
  /** One cell in CSS pixels; below one device pixel when pooled. */
  cell: number;
  /** Pixel columns and rows that are coloured on their own: one per cell, fewer when pooled. */
  columns: number;
  rows: number;
  /** The whole plot and the whole canvas in CSS pixels. */
  width: number;
  height: number;
  canvasWidth: number;
  canvasHeight: number;
}

export interface Room {
  width: number;
  height: number;
  left: number;
  top: number;
  right: number;
}

const MAX_CELL = 64;
const BOTTOM = 2;

export function heatGeometry(queries: number, keys: number, room: Room, ratio: number): HeatGeometry {
  const left = Math.ceil(room.left * ratio);
  const top = Math.ceil(room.top * ratio);
  const wide = Math.max(8, Math.floor((room.width - room.right) * ratio) - left);
  const high = Math.max(8, Math.floor((room.height - BOTTOM) * ratio) - top);
  const fit = Math.min(wide / keys, high / queries);
  const whole = fit >= 1;
  const cell = whole ? Math.min(Math.floor(fit), Math.round(MAX_CELL * ratio)) : fit;
  const columns = whole ? keys : Math.max(1, Math.floor(keys * cell));
  const rows = whole ? queries : Math.max(1, Math.floor(queries * cell));
  const width = whole ? keys * cell : columns;
  const height = whole ? queries * cell : rows;
  return {
    left: left / ratio,
    top: top / ratio,
    cell: cell / ratio,
    columns,
    rows,
    width: width / ratio,
    height: height / ratio,
    canvasWidth: (left + width) / ratio + room.right,
    canvasHeight: (top + height) / ratio + BOTTOM,
  };
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
