/** The pictures of a head that are here, laid over each other: what is drawn, and what is read until exact weights come. */
import { binOf, binStart, decodeTable, spread, type Tile, tileColumn, tileRow } from "./codes";
import { PYRAMID_TILE } from "./protocol";
import { childrenOf, levels, neededLevel, type Place, rangesOf, spanOf, tilesOver } from "./pyramid";
import type { HeadRef, HeadShape, Placed } from "./source";
import type { TileWant } from "./wants";
import { type Window, whole } from "./window";

/** What there is to draw for a window. */
export interface Sight {
  /** Coarsest first, each over those before it. */
  placed: readonly Placed[];
  /** The coarsest level that shows anywhere; null where the picture of the whole head does. */
  level: number | null;
  /** The fewest queries that a cell in sight was sampled from; null: all cells are exact. */
  rows: number | null;
}

/** Enough for the views of one widget, and for a gesture that goes to and fro. */
const REMEMBERED = 4;

export class Layers {
  readonly #placed = new WeakMap<Tile, Placed>();
  #recent: Sight[] = [];

  constructor(
    readonly shape: (ref: HeadRef) => HeadShape,
    readonly here: (want: TileWant) => Tile | null,
  ) {}

  /** The picture of the whole head: as fine as there is one. */
  whole(ref: HeadRef): Tile | null {
    return this.here({ kind: "detail", ref }) ?? this.here({ kind: "thumbnail", ref });
  }

  /** The same object as long as it would hold the same tiles. */
  sight(ref: HeadRef, window: Window, scale: number): Sight {
    const shape = this.shape(ref);
    const picture = this.whole(ref);
    const base = picture ? [this.#put(picture, whole(shape))] : [];
    const found = this.#over(ref, shape, window, neededLevel(shape, scale));
    const placed = [...base, ...found.placed];
    const level = found.complete;
    const seen = level === null ? placed : found.placed;
    const sampled = seen.flatMap(({ tile }) => tile.rows ?? []);
    const next: Sight = { placed, level, rows: sampled.length ? Math.min(...sampled) : null };
    const same = this.#recent.find(
      (old) =>
        old.level === level &&
        old.placed.length === placed.length &&
        old.placed.every((each, i) => each === placed[i]),
    );
    if (!same) this.#recent = [next, ...this.#recent].slice(0, REMEMBERED);
    return same ?? next;
  }

  /** A row or a column of the head as the finest pictures show it. */
  line(ref: HeadRef, side: "query" | "key", index: number): Float32Array | null {
    const shape = this.shape(ref);
    const { queries, keys } = shape;
    const picture = this.whole(ref);
    if (!picture) return null;
    const down = side === "key";
    const out = (down ? tileColumn : tileRow)(picture, index, queries, keys);
    const n = out.length;
    for (let level = levels(shape) - 1; level >= 0; level--) {
      const span = spanOf(level);
      const across = Math.floor(index / span);
      const cell = Math.floor((index % span) / 2 ** level);
      for (let nth = 0; nth * span < n; nth++) {
        const at = down ? { row: nth, column: across } : { row: across, column: nth };
        const tile = this.#tile(ref, { level, ...at });
        if (!tile) continue;
        const [count, from, step] = down
          ? [tile.height, cell, tile.width]
          : [tile.width, cell * tile.width, 1];
        spread(out, tile, count, from, step, (i) => Math.min(n, (nth * PYRAMID_TILE + i) * 2 ** level));
      }
    }
    return out;
  }

  /** The cell over a pair in the finest picture that has it, and how many pairs it stands for. */
  cell(ref: HeadRef, query: number, key: number): { value: number; cells: number } | null {
    const shape = this.shape(ref);
    const { queries, keys } = shape;
    for (let level = 0; level < levels(shape); level++) {
      const span = spanOf(level);
      const [row, column] = [Math.floor(query / span), Math.floor(key / span)];
      const tile = this.#tile(ref, { level, row, column });
      if (!tile) continue;
      const size = 2 ** level;
      const [y, x] = [Math.floor((query % span) / size), Math.floor((key % span) / size)];
      const long = (first: number, n: number) => Math.min(n, first + size) - first;
      const cells = long(row * span + y * size, queries) * long(column * span + x * size, keys);
      return { value: valueAt(tile, y, x), cells };
    }
    const tile = this.whole(ref);
    if (!tile) return null;
    const [y, x] = [binOf(query, queries, tile.height), binOf(key, keys, tile.width)];
    const long = (bin: number, n: number, bins: number) =>
      binStart(bin + 1, n, bins) - binStart(bin, n, bins);
    return { value: valueAt(tile, y, x), cells: long(y, queries, tile.height) * long(x, keys, tile.width) };
  }

  /** Tiles of the pyramid: of the level needed and, where those are not here yet, finer and coarser ones. */
  #over(ref: HeadRef, shape: HeadShape, window: Window, needed: number | null) {
    const layers: Placed[][] = [];
    let complete: number | null = null;
    const place = (at: Place) => {
      const tile = this.#tile(ref, at);
      return tile ? [this.#put(tile, rangesOf(at, shape), at.level)] : [];
    };
    for (let level = needed ?? levels(shape); level < levels(shape) && complete === null; level++) {
      const places = tilesOver(window, shape, level);
      const layer = places.flatMap(place);
      if (layer.length === places.length) complete = level;
      if (level === needed) {
        const missing = places.filter((at) => !this.#tile(ref, at));
        layers.push(missing.flatMap((at) => childrenOf(at, shape)).flatMap(place));
      }
      layers.push(layer);
    }
    return { placed: layers.reverse().flat(), complete };
  }

  #tile(ref: HeadRef, at: Place): Tile | null {
    return this.here({ kind: "tile", ref, ...at });
  }

  #put(tile: Tile, over: Window, level?: number): Placed {
    let found = this.#placed.get(tile);
    if (!found) {
      found = { tile, ...over, ...(level !== undefined && { level }) };
      this.#placed.set(tile, found);
    }
    return found;
  }
}

const valueAt = ({ codes, width, max }: Tile, y: number, x: number) =>
  decodeTable(max)[codes[y * width + x]!]!;
