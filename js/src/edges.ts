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
  const { length } = codes;
  const histogram = new Uint32Array(tile.max + 2);
  for (let i = 0; i < length; i++) histogram[codes[i]!]!++;
  // Walk down from the strongest code until the limit is full; `spare` pairs of the last code still fit.
  let cut = tile.max;
  let taken = 0;
  while (cut > floor && taken + histogram[cut]! <= limit) taken += histogram[cut--]!;
  let spare = Math.min(histogram[cut]!, limit - taken);
  let total = taken;
  for (let code = floor; code <= cut; code++) total += histogram[code]!;
  const found = new Uint32Array(taken + spare);
  for (let i = 0, n = 0; n < found.length; i++)
    if (codes[i]! > cut || (codes[i] === cut && spare-- > 0)) found[n++] = i;
  found.sort((a, b) => codes[a]! - codes[b]!);
  return {
    queries: Uint16Array.from(found, (i) => (i / width) | 0),
    keys: Uint16Array.from(found, (i) => i % width),
    weights: Float32Array.from(found, (i) => weights[codes[i]!]!),
    total,
  };
}
