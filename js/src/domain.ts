/** The range of weights a head is coloured over when nobody has said one. */
import { decodeTable, type Tile } from "./codes";
import { cellsIn, type Sight } from "./layers";
import type { Range } from "./protocol";
import type { Window } from "./window";

/** A key that takes this share of all mass is a sink: it would flatten everything else to one colour. */
const SINK_SHARE = 0.3;
/** A range never ends under this share of the largest weight: beside a strong sink the rest would be noise. */
const LEAST = 1 / 8;
/** The share of queries whose strongest key stays inside the range. */
const QUANTILE = 0.98;

export interface Found {
  range: Range;
  /** The largest weight, which may lie above the range. */
  max: number;
  /** The smallest that is not 0. */
  min: number;
}

export const EMPTY: Found = { range: [0, 1], max: 1, min: 1 };

export interface HeadRange extends Found {
  /** Columns of the picture that are sinks: the range is that of the others. */
  sinks: number[];
}

/** Of few keys one takes much without being a sink. */
export const sinkShare = (keys: number) => Math.max(SINK_SHARE, Math.min(4 / keys, 0.9));

const known = new WeakMap<Tile, HeadRange>();

/**
 * From 0 to a high percentile of the strongest weights of the queries, sinks left out. A percentile of rows' maxima and
 * not of all cells: a head that looks at one key only has one cell in T that matters, and it must not be clipped.
 */
export function headRange(tile: Tile): HeadRange {
  let found = known.get(tile);
  if (!found) {
    found = measure(tile);
    known.set(tile, found);
  }
  return found;
}

function measure(tile: Tile): HeadRange {
  const { height, width, codes } = tile;
  const table = decodeTable(tile.max);
  const mass = new Float64Array(width);
  let top = 0;
  let least = tile.max;
  for (let i = 0, y = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const code = codes[i]!;
      if (code > top) top = code;
      if (code < 3) continue;
      if (code < least) least = code;
      mass[x]! += table[code]!;
    }
  const share = sinkShare(width);
  const sink = Array.from(mass, (m) => m / height > share);
  const best: number[] = [];
  for (let y = 0; y < height; y++) {
    let code = 0;
    for (let x = 0; x < width; x++)
      if (!sink[x] && codes[y * width + x]! > code) code = codes[y * width + x]!;
    if (code > 2) best.push(table[code]!);
  }
  best.sort((a, b) => a - b);
  const max = top > 2 ? table[top]! : 0;
  const high = best[Math.min(best.length - 1, Math.ceil(best.length * QUANTILE) - 1)] ?? max;
  return {
    range: [0, Math.max(high, max * LEAST) || 1],
    max,
    min: table[least]!,
    sinks: [...sink.keys()].filter((x) => sink[x]),
  };
}

/** What is in sight alone, cut from the pictures that cover all of it. */
export function cutToSight({ placed, level: covering }: Sight, window: Window): Tile[] {
  const cut: Tile[] = [];
  for (const picture of placed) {
    const { tile, level } = picture;
    if ((level ?? null) !== covering) continue;
    const [top, bottom] = cellsIn(picture, "queries", window);
    const [left, right] = cellsIn(picture, "keys", window);
    if (top >= bottom || left >= right) continue;
    const width = right - left;
    const codes = new Uint16Array((bottom - top) * width);
    for (let y = top; y < bottom; y++) {
      const row = tile.codes.subarray(y * tile.width + left, y * tile.width + right);
      codes.set(row, (y - top) * width);
    }
    cut.push({ height: bottom - top, width, codes, max: tile.max });
  }
  return cut;
}

/** The range of that; null where nothing is there. */
export function rangeInSight(sight: Sight, window: Window): Found | null {
  const found = cutToSight(sight, window).map(measure);
  const most = (of: (one: HeadRange) => number) => Math.max(...found.map(of));
  return found.length
    ? { range: [0, most((one) => one.range[1])], max: most((one) => one.max), min: -most((one) => -one.min) }
    : null;
}
