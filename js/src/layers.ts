/** The pictures of a head that are here, laid over each other: what is drawn, and what is read until exact weights come. */
import { binOf, binStart, decodeTable, type Tile } from "./codes";
import type { Range } from "./protocol";
import { childrenOf, levels, neededLevel, type Place, rangesOf, spanOf, tilesOver } from "./pyramid";
import type { HeadRef, HeadShape, Placed } from "./source";
import type { TileWant } from "./wants";
import { type Window, whole } from "./window";

/** Pictures that are laid over each other, and what shows of them. */
export interface Sight {
  /** Coarsest first, each over those before it. */
  placed: readonly Placed[];
  /** The coarsest level that shows anywhere; null where the picture of the whole head does. */
  level: number | null;
  /** The fewest queries that a cell in sight was sampled from; null: all cells are exact. */
  rows: number | null;
}

/** What shows of these in a window: a level that covers all of it hides those that are coarser. */
export function sightOf(placed: readonly Placed[], window: Window, shape: HeadShape): Sight {
  const covers = (level: number) =>
    placed.filter((each) => each.level === level).length === tilesOver(window, shape, level).length;
  const level = placed.map((each) => each.level).find((each) => each !== undefined && covers(each)) ?? null;
  const seen = placed.filter((each) => level === null || (each.level ?? Number.POSITIVE_INFINITY) <= level);
  const sampled = seen.flatMap(({ tile, minus }) => tile.rows ?? minus?.rows ?? []);
  return { placed, level, rows: sampled.length ? Math.min(...sampled) : null };
}

/** Enough for the views of one widget, for a gesture that goes to and fro, and for heads that are drawn together. */
const REMEMBERED = 64;

export class Layers {
  readonly #placed = new WeakMap<Tile, Placed>();
  #recent: (readonly Placed[])[] = [];

  constructor(
    readonly shape: (ref: HeadRef) => HeadShape,
    readonly here: (want: TileWant) => Tile | null,
  ) {}

  /** The picture of the whole head: as fine as there is one. */
  whole(ref: HeadRef): Tile | null {
    return this.here({ kind: "detail", ref }) ?? this.here({ kind: "thumbnail", ref });
  }

  /**
   * What to draw, coarsest first: the picture of the whole head, then tiles of the level needed and, where those are not
   * here yet, coarser and finer ones. The same array as long as it would hold the same pictures.
   */
  placed(ref: HeadRef, window: Window, scale: number): readonly Placed[] {
    const shape = this.shape(ref);
    const place = (at: Place) => this.#at(ref, at);
    const needed = neededLevel(shape, scale);
    const layers: Placed[][] = [];
    for (let level = needed ?? levels(shape), covered = false; level < levels(shape) && !covered; level++) {
      const places = tilesOver(window, shape, level);
      const layer = places.flatMap(place);
      covered = layer.length === places.length;
      if (level === needed) {
        const missing = places.filter((at) => !place(at).length);
        layers.push(missing.flatMap((at) => childrenOf(at, shape, window)).flatMap(place));
      }
      layers.push(layer);
    }
    const next = [...this.#base(ref), ...layers.reverse().flat()];
    const same = this.#recent.find(
      (old) => old.length === next.length && old.every((each, i) => each === next[i]),
    );
    if (!same) this.#recent = [next, ...this.#recent].slice(0, REMEMBERED);
    return same ?? next;
  }

  /** The row of a query, or the column of a key, as the finest pictures show it. */
  line(ref: HeadRef, side: "queries" | "keys", index: number): Float32Array | null {
    const shape = this.shape(ref);
    const pictures = this.#base(ref);
    if (!pictures.length) return null;
    const other = side === "queries" ? "keys" : "queries";
    const strip: Window = { ...whole(shape), [side]: [index, index + 1] };
    for (let level = levels(shape) - 1; level >= 0; level--)
      pictures.push(...tilesOver(strip, shape, level).flatMap((at) => this.#at(ref, at)));
    const out = new Float32Array(shape[other]);
    for (const picture of pictures) {
      const { codes, width, max } = picture.tile;
      const table = decodeTable(max);
      const [fixed, along] = [cellsOf(picture, side), cellsOf(picture, other)];
      const [first, step] = side === "queries" ? [fixed.of(index) * width, 1] : [fixed.of(index), width];
      for (let i = 0; i < along.count; i++)
        out.fill(table[codes[first + i * step]!]!, along.start(i), along.start(i + 1));
    }
    return out;
  }

  /** The cell over a pair in the finest picture that has it, and how many pairs it stands for. */
  cell(ref: HeadRef, query: number, key: number): { value: number; cells: number } | null {
    const shape = this.shape(ref);
    const pictures = this.#base(ref);
    for (let level = levels(shape) - 1; level >= 0; level--) {
      const span = spanOf(level);
      pictures.push(
        ...this.#at(ref, { level, row: Math.floor(query / span), column: Math.floor(key / span) }),
      );
    }
    const best = pictures.at(-1);
    if (!best) return null;
    const { codes, width, max } = best.tile;
    const [down, across] = [cellsOf(best, "queries"), cellsOf(best, "keys")];
    const [y, x] = [down.of(query), across.of(key)];
    const cells = (down.start(y + 1) - down.start(y)) * (across.start(x + 1) - across.start(x));
    return { value: decodeTable(max)[codes[y * width + x]!]!, cells };
  }

  #base(ref: HeadRef): Placed[] {
    const tile = this.whole(ref);
    return tile ? [this.#put(tile, whole(this.shape(ref)))] : [];
  }

  #at(ref: HeadRef, at: Place): Placed[] {
    const tile = this.here({ kind: "tile", ref, ...at });
    return tile ? [this.#put(tile, { ...rangesOf(at, this.shape(ref)), level: at.level })] : [];
  }

  #put(tile: Tile, over: Omit<Placed, "tile">): Placed {
    let found = this.#placed.get(tile);
    if (!found) {
      found = { tile, ...over };
      this.#placed.set(tile, found);
    }
    return found;
  }
}

/** How the cells of a picture share out the tokens of one side. */
function cellsOf(picture: Placed, side: "queries" | "keys") {
  const [first, stop] = picture[side];
  const n = stop - first;
  const { tile, level } = picture;
  const count = side === "queries" ? tile.height : tile.width;
  return {
    count,
    of: (token: number) => (level === undefined ? binOf(token - first, n, count) : (token - first) >> level),
    start: (cell: number) =>
      first + (level === undefined ? binStart(cell, n, count) : Math.min(n, cell << level)),
  };
}

/** The cells of a picture, [first, last), that a window touches along one side. */
export function cellsIn(picture: Placed, side: "queries" | "keys", window: Window): Range {
  const first = Math.max(picture[side][0], Math.floor(window[side][0] + 1e-6));
  const last = Math.min(picture[side][1], Math.ceil(window[side][1] - 1e-6)) - 1;
  if (last < first) return [0, 0];
  const { of } = cellsOf(picture, side);
  return [of(first), of(last) + 1];
}
