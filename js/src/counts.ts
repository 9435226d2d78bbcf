/** How many cells of a picture have each code: what ranks and histograms are read from. */
import { decodeTable, encode, type Tile } from "./codes";
import { CODE_FIRST, type Range } from "./protocol";

/** Adds the codes of a tile up, code by code. */
export function count({ codes }: Tile, into: Uint32Array): void {
  for (const code of codes) into[code]!++;
}

/** The weights of a picture in order, as far as codes tell them apart: from a weight to its rank and back. */
export class Ranks {
  static #made = 0;
  readonly #id = ++Ranks.#made;
  readonly #max: number;
  /** By code, the cells with a weight above zero that have a smaller one. */
  readonly #below: Uint32Array;

  constructor(tile: Tile) {
    this.#max = tile.max;
    const counts = new Uint32Array(tile.max + 1);
    count(tile, counts);
    this.#below = new Uint32Array(tile.max + 1);
    for (let code = CODE_FIRST; code < tile.max; code++)
      this.#below[code + 1] = this.#below[code]! + counts[code]!;
  }

  /** The share of the weights between the ends that are smaller, from 0 to 1. */
  positions(range: Range): (weight: number) => number {
    const [low, high] = this.#ends(range);
    return (weight) => (this.#of(weight) - low) / (high - low || 1);
  }

  /** The weight at a place: one that there is, exact to its code. */
  weightAt(t: number, range: Range): number {
    const [low, high] = this.#ends(range);
    // A place is a ratio of whole numbers; half of one forgives the rounding.
    const wanted = low + t * (high - low) + 1e-6;
    let [first, last] = [CODE_FIRST, this.#max];
    while (first < last) {
      const middle = (first + last + 1) >> 1;
      if (this.#below[middle]! <= wanted) first = middle;
      else last = middle - 1;
    }
    return decodeTable(this.#max)[first]!;
  }

  #of = (weight: number) => this.#below[Math.max(CODE_FIRST, encode(weight, this.#max))]!;

  #ends = ([low, high]: Range) => [this.#of(low), this.#of(high)] as const;

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
