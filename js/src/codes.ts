/** Weights as integers on one fixed log2 axis. */
import { CODE_FIRST, CODE_MASKED, CODE_MAX_U8, CODE_MISSING, CODE_ZERO, LOG2_MIN } from "./protocol";

/** A decoded cell that nobody has told us about. Masked cells are NaN, as in `values`. */
export const MISSING = -1;

export interface Tile {
  readonly height: number;
  readonly width: number;
  readonly codes: Uint8Array | Uint16Array;
  /** The code of weight 1: 255 or 65535. */
  readonly max: number;
  /** Queries looked at under each cell; null or undefined: all of them. */
  readonly rows?: number | null;
}

export function encode(weight: number, max: number): number {
  if (Number.isNaN(weight)) return CODE_MASKED;
  const log = Math.log2(weight);
  if (!(log >= LOG2_MIN)) return CODE_ZERO;
  return CODE_FIRST + Math.round(((Math.min(log, 0) - LOG2_MIN) * (max - CODE_FIRST)) / -LOG2_MIN);
}

function buildTable(max: number): Float32Array {
  const table = new Float32Array(max + 1);
  table[CODE_MASKED] = Number.NaN;
  table[CODE_MISSING] = MISSING;
  table[CODE_ZERO] = 0;
  for (let code = CODE_FIRST; code <= max; code++)
    table[code] = 2 ** (LOG2_MIN + ((code - CODE_FIRST) * -LOG2_MIN) / (max - CODE_FIRST));
  return table;
}

let u8: Float32Array | undefined;
let u16: Float32Array | undefined;

/** Code -> weight, for all codes up to `max`; pure tables, built on first use. */
export function decodeTable(max: number): Float32Array {
  if (max === CODE_MAX_U8) {
    u8 ??= buildTable(max);
    return u8;
  }
  u16 ??= buildTable(max);
  return u16;
}

/** The first item of bin `r` of `bins` over `n` items. */
export function binStart(r: number, n: number, bins: number): number {
  return Math.floor((r * n) / bins);
}

/** The bin, of `bins` over `n` items, that item `i` falls in. */
export function binOf(i: number, n: number, bins: number): number {
  return Math.ceil(((i + 1) * bins) / n) - 1;
}

/** The tile again with at most `side` cells a side. */
export function shrunk(tile: Tile, side: number): Tile {
  const [height, width] = [Math.min(tile.height, side), Math.min(tile.width, side)];
  const out = new Uint32Array(height * width);
  paint(
    tile,
    Uint32Array.from({ length: tile.max + 1 }, (_, code) => code),
    width,
    height,
    out,
  );
  return { ...tile, height, width, codes: Uint16Array.from(out) };
}

/**
 * The tile at another size, through a lookup table. Smaller: the largest code under a pixel wins, which is the largest
 * weight, because codes are ordered masked < missing < zero < weights; or that of the highest rank. Larger: nearest neighbour.
 */
export function paint(
  tile: Tile,
  lut: Uint32Array,
  width: number,
  height: number,
  out: Uint32Array,
  rank?: ArrayLike<number> | null,
): void {
  const { codes } = tile;
  const over = rank
    ? (one: number, other: number) => rank[one]! > rank[other]!
    : (one: number, other: number) => one > other;
  const starts = new Int32Array(width + 1);
  const row = new Uint16Array(tile.width);
  const shrinkX = width < tile.width;
  for (let x = 0; x <= width; x++)
    starts[x] = shrinkX ? binStart(x, tile.width, width) : Math.min(binOf(x, width, tile.width), tile.width);
  for (let y = 0; y < height; y++) {
    const shrinkY = height < tile.height;
    const a = shrinkY ? binStart(y, tile.height, height) : binOf(y, height, tile.height);
    const b = shrinkY ? binStart(y + 1, tile.height, height) : a + 1;
    row.set(codes.subarray(a * tile.width, (a + 1) * tile.width));
    for (let i = (a + 1) * tile.width, x = 0; i < b * tile.width; i++) {
      if (over(codes[i]!, row[x]!)) row[x] = codes[i]!;
      if (++x === tile.width) x = 0;
    }
    const line = y * width;
    for (let x = 0; x < width; x++) {
      let best = row[starts[x]!]!;
      if (shrinkX)
        for (let i = starts[x]! + 1; i < starts[x + 1]!; i++) if (over(row[i]!, best)) best = row[i]!;
      out[line + x] = lut[best]!;
    }
  }
}
