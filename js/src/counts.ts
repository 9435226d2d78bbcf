/** How many cells of a picture have each code: what ranks and histograms are read from. */
import { decodeTable, encode, type Tile } from "./codes";
import { CODE_FIRST, type Range } from "./protocol";

/** Adds the codes of a tile up, code by code. */
export function count({ codes }: Tile, into: Uint32Array): void {
  for (let i = 0; i < codes.length; i++) into[codes[i]!]!++;
}

/** The weights of a picture in order, as far as codes tell them apart: from a weight to its rank and back. */
export class Ranks {
  static #made = 0;
  readonly #id = ++Ranks.#made;
  readonly max: number;
  /** By code, the cells with a weight above zero that have a smaller one. */
  readonly #below: Uint32Array;

  constructor(tile: Tile) {
    this.max = tile.max;
    const counts = new Uint32Array(tile.max + 1);
    count(tile, counts);
    this.#below = new Uint32Array(tile.max + 1);
    for (let code = CODE_FIRST; code < tile.max; code++)
      this.#below[code + 1] = this.#below[code]! + counts[code]!;
  }

  /** The share of the weights between the ends that are smaller, from 0 to 1, by code. */
  places(range: Range): (code: number) => number {
    const [first, last] = range.map((end) => this.code(end)) as Range;
    const low = this.#below[first]!;
    const span = this.#below[last]! - low || 1;
    return (code) => (code >= last ? 1 : code <= first ? 0 : (this.#below[code]! - low) / span);
  }

  /** The weight at a place: one that there is, exact to its code. */
  weightAt(t: number, range: Range): number {
    const [low, high] = range.map((end) => this.#below[this.code(end)]!) as Range;
    // A place is a ratio of whole numbers: what is added forgives its rounding.
    const wanted = low + t * (high - low) + 1e-6;
    let [first, last] = [CODE_FIRST, this.max];
    while (first < last) {
      const middle = (first + last + 1) >> 1;
      if (this.#below[middle]! <= wanted) first = middle;
      else last = middle - 1;
    }
    return decodeTable(this.max)[first]!;
  }

  /** The code of a weight, as if none were zero. */
  code(weight: number): number {
    return Math.max(CODE_FIRST, encode(weight, this.max));
  }

  /** Two ramps over the ranks of one picture are the same when written down. */
  toJSON(): number {
    return this.#id;
  }
}

const known = new WeakMap<Tile, Ranks>();

export function ranksOf(tile: Tile): Ranks {
  let found = known.get(tile);
  if (!found) {
    found = new Ranks(tile);
    known.set(tile, found);
  }
  return found;
}
