/** The strongest pairs of a window, found through the codes: no sort over a million floats. */

import { decodeTable, encode, type Tile } from "./codes";
import type { Placed } from "./datasource";
import { CODE_FIRST } from "./protocol";
import type { Window } from "./window";

export interface Edges {
  queries: Uint32Array;
  keys: Uint32Array;
  weights: Float32Array;
  /** Of which head each is: its place among those that were asked about. */
  heads: Uint16Array;
  /** How many are at or over the threshold; the arrays hold the strongest of them, weakest first. */
  total: number;
  /** Whether all of the window was known. */
  whole: boolean;
}

const inside = ([a, b]: readonly [number, number], [c, d]: readonly [number, number]) =>
  [Math.max(a, Math.floor(c)), Math.min(b, Math.ceil(d))] as const;

/** The tiles whose cells are single pairs, and the window's part of each. Pooled cells would claim what is not known. */
function single(placed: readonly Placed[], window: Window) {
  const parts = placed.flatMap((part) => {
    const { tile, queries, keys } = part;
    if (tile.height !== queries[1] - queries[0] || tile.width !== keys[1] - keys[0]) return [];
    const [q0, q1] = inside(queries, window.queries);
    const [k0, k1] = inside(keys, window.keys);
    return q1 > q0 && k1 > k0 ? [{ ...part, q0, q1, k0, k1, area: (q1 - q0) * (k1 - k0) }] : [];
  });
  const [[a, b], [c, d]] = [window.queries, window.keys];
  const area = (Math.ceil(b) - Math.floor(a)) * (Math.ceil(d) - Math.floor(c));
  // One that covers everything needs no other, and those of a pyramid's level do not overlap.
  const cover = parts.findLast((part) => part.area === area);
  const used = cover ? [cover] : parts;
  return { used, whole: used.reduce((sum, part) => sum + part.area, 0) >= area };
}

/** Null where nothing of the window is known pair by pair. */
export function strongestEdges(
  placed: readonly Placed[],
  window: Window,
  threshold: number,
  limit: number,
): Edges | null {
  const { used, whole } = single(placed, window);
  if (!used.length) return null;
  const { max } = used[0]!.tile;
  const weights = decodeTable(max);
  let floor = Math.max(CODE_FIRST, encode(threshold, max));
  if (weights[floor]! < threshold * (1 - 1e-4)) floor++;
  const each = (visit: (code: number, query: number, key: number) => void) => {
    for (const { tile, queries, keys, q0, q1, k0, k1 } of used)
      for (let q = q0; q < q1; q++) {
        const base = (q - queries[0]) * tile.width - keys[0];
        for (let k = k0; k < k1; k++) visit(tile.codes[base + k]!, q, k);
      }
  };
  const histogram = new Uint32Array(max + 2);
  each((code) => histogram[code]!++);
  // Walk down from the strongest code until the limit is full; `spare` pairs of the last code still fit.
  let cut = max;
  let taken = 0;
  while (cut > floor && taken + histogram[cut]! <= limit) taken += histogram[cut--]!;
  let spare = Math.min(histogram[cut]!, limit - taken);
  let total = taken;
  for (let code = floor; code <= cut; code++) total += histogram[code]!;
  const found: [code: number, query: number, key: number][] = [];
  each((code, query, key) => {
    if (code > cut || (code === cut && spare-- > 0)) found.push([code, query, key]);
  });
  found.sort((a, b) => a[0] - b[0]);
  return {
    queries: Uint32Array.from(found, ([, query]) => query),
    keys: Uint32Array.from(found, ([, , key]) => key),
    weights: Float32Array.from(found, ([code]) => weights[code]!),
    heads: new Uint16Array(found.length),
    total,
    whole,
  };
}

/** The strongest pairs of several heads together; null where nothing of any is known pair by pair. */
export function strongestOfHeads(found: readonly (Edges | null)[], limit: number): Edges | null {
  const known = found.filter((edges) => edges !== null);
  if (found.length === 1 || !known.length) return found[0] ?? null;
  const all = found.flatMap((edges, head) =>
    Array.from(edges?.weights ?? [], (weight, i) => ({ edges: edges!, head, i, weight })),
  );
  const kept = all.sort((a, b) => a.weight - b.weight).slice(-limit);
  return {
    queries: Uint32Array.from(kept, ({ edges, i }) => edges.queries[i]!),
    keys: Uint32Array.from(kept, ({ edges, i }) => edges.keys[i]!),
    weights: Float32Array.from(kept, ({ weight }) => weight),
    heads: Uint16Array.from(kept, ({ head }) => head),
    total: known.reduce((sum, { total }) => sum + total, 0),
    whole: found.every((edges) => edges?.whole),
  };
}

/** Whether a tile over a whole head has a cell for every pair. */
export const singleCelled = (tile: Tile | null, queries: number, keys: number): boolean =>
  tile !== null && tile.height >= queries && tile.width >= keys;
