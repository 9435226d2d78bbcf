/** The strongest pairs of a head, found through the codes: no sort over a quarter of a million floats. */

import { decodeTable, encode, type Tile } from "./codes";
import { CODE_FIRST } from "./protocol";

export interface Edges {
  queries: Uint16Array;
  keys: Uint16Array;
  weights: Float32Array;
  /** How many are at or over the threshold; the arrays hold the strongest of them, weakest first. */
  total: number;
}

export function strongestEdges(tile: Tile, threshold: number, limit: number): Edges {
  const { codes, width } = tile;
  const weights = decodeTable(tile.max);
  let floor = Math.max(CODE_FIRST, encode(threshold, tile.max));
  if (weights[floor]! < threshold * (1 - 1e-4)) floor++;
  const histogram = new Uint32Array(tile.max + 2);
  let total = 0;
  for (const code of codes)
    if (code >= floor) {
      histogram[code]!++;
      total++;
    }
  // Walk down from the strongest code until the limit is full; `spare` pairs of the last code still fit.
  let cut = tile.max;
  let taken = 0;
  while (cut > floor && taken + histogram[cut]! <= limit) taken += histogram[cut--]!;
  let spare = Math.min(histogram[cut]!, limit - taken);
  const found: number[] = [];
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    if (code < floor || code < cut || (code === cut && spare-- <= 0)) continue;
    found.push(i);
  }
  found.sort((a, b) => codes[a]! - codes[b]!);
  return {
    queries: Uint16Array.from(found, (i) => (i / width) | 0),
    keys: Uint16Array.from(found, (i) => i % width),
    weights: Float32Array.from(found, (i) => weights[codes[i]!]!),
    total,
  };
}
