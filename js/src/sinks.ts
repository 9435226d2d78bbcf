/** Keys that take most of a head's mass. */
import { decodeTable, type Tile } from "./codes";
import { sinkShare } from "./domain";
import type { View } from "./view";
import { whole } from "./window";

/** A key, and its share of the mass of the head. */
export type Sink = readonly [key: number, share: number];

const known = new WeakMap<Tile, Sink[]>();

/** Sinks of the head shown; `cap.sinks()` says the same. None while they are not known. */
export function sinksOf({ store, source, picture }: View): readonly Sink[] {
  if (store.reading.value.kind !== "weight") return []; // shares are of weights
  const { tile } = picture.value;
  const shape = store.shown.value;
  // Cells that stand for several tokens say nothing of any one of them.
  if (tile && tile.height === shape.queries && tile.width === shape.keys) return sinksIn(tile);
  return source.marginals(store.shownHead.value, whole(shape))?.sinks ?? [];
}

/** Of a tile whose cells are pairs of tokens: over the queries that may look at two keys at least. */
export function sinksIn(tile: Tile): Sink[] {
  let found = known.get(tile);
  if (!found) {
    found = measure(tile);
    known.set(tile, found);
  }
  return found;
}

function measure({ height, width, codes, max }: Tile): Sink[] {
  const table = decodeTable(max);
  const mass = new Float64Array(width);
  let total = 0;
  for (let y = 0; y < height; y++) {
    const row = codes.subarray(y * width, (y + 1) * width);
    let allowed = 0;
    for (const code of row) if (code) allowed++;
    if (allowed < 2) continue;
    row.forEach((code, x) => {
      if (code < 3) return;
      mass[x]! += table[code]!;
      total += table[code]!;
    });
  }
  return Array.from(mass, (m, key) => [key, m / total] as const).filter(
    ([, share]) => share > sinkShare(width),
  );
}
