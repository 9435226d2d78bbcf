/** What panels ask of a source of weights, and how heads, lines, tiles and strips are told. */

import type { Aggregate } from "./aggregates";
import type { Tile } from "./codes";
import type { PairHeader } from "./protocol";
import type { Answer, Link } from "./rpc";
import type { ReadonlySignal, Signal } from "./signals";
import type { Sink } from "./sinks";
import type { HeadsWant, Patterns, Refusal, Want } from "./wants";
import type { Window } from "./window";

export interface HeadRef {
  stack: string;
  batch: number;
  layer: number;
  head: number;
  /** Its weights where nothing is said; or their lift, divided by the number of keys; or what the other side has less. */
  measure?: "lift" | "excess";
  /** Many heads in the place of this one. */
  aggregate?: Aggregate;
}

/** The same head's weights, whatever is asked for. */
export const plain = ({ measure: _, ...ref }: HeadRef): HeadRef => ref;

export interface HeadShape {
  queries: number;
  keys: number;
}

/** A row or a column of a head: NaN where masked, -1 where unknown; exact once the kernel has sent floats. */
export interface Line {
  values: Float32Array;
  exact: boolean;
}

/** A tile and the tokens it lies over. */
export interface Placed extends Window {
  tile: Tile;
  /** Of a difference: what is taken away, cell by cell. */
  minus?: Tile;
  /** Cells of 2^level tokens a side from the start of the ranges; without it, bins as even as they can be. */
  level?: number;
}

/** Strips along the axes of a window, in `width` and `height` bins as even as they can be. */
export interface Marginals extends Window {
  /** Per bin of keys: the mean weight that a key receives from the queries that may look at it. */
  received: Float32Array;
  /** Per bin of queries: the mean entropy of their rows, in bits; NaN where no query may look at anything. */
  entropy: Float32Array;
  /** Queries that `received` was measured on; null: all of them. */
  rows: number | null;
  /** Of a long head: keys that take most of its mass, and their share of it, read from a sample of its queries. */
  sinks?: readonly Sink[] | undefined;
}

/** How one weight came about, with the query and key that the kernel received. */
export interface PairDetail extends PairHeader {
  q: Float32Array;
  k: Float32Array;
}

export interface DataSource {
  /** Goes up whenever something has arrived; whoever asks for weights inside an effect reads it too. */
  readonly version: ReadonlySignal<number>;
  readonly link: ReadonlySignal<Link>;
  /** Why weights that were asked for did not come; null while all is well. */
  readonly problem: Signal<string | null>;
  thumbnail(ref: HeadRef): Tile | null;
  detail(ref: HeadRef): Tile | null;
  /** The tiles to draw for a window at `scale` device pixels a token, coarsest first, each over those before it. */
  placed(ref: HeadRef, window: Window, scale: number): readonly Placed[];
  /** What keys receive and how wide queries look, over a window that holds this one; null until it has come. */
  marginals(ref: HeadRef, window: Window): Marginals | null;
  /** How far the refinement of the shown head's pictures is, from 0 to 1; null when none is going on. */
  readonly progress: ReadonlySignal<number | null>;
  row(ref: HeadRef, query: number): Line | null;
  column(ref: HeadRef, key: number): Line | null;
  cell(ref: HeadRef, query: number, key: number): CellValue | null;
  /** How a weight came about; why nobody knows; or null until one of them has come. */
  pair(ref: HeadRef, query: number, key: number): PairDetail | Refusal | null;
  /** What every head does, or the exact weights of a pair in every head; null until it has come. */
  heads(want: HeadsWant): Patterns | Float32Array | null;
  /** How far the measuring of heads is, from 0 to 1, while it goes on. */
  readonly finding: ReadonlySignal<number>;
  /**
   * Replaces what `owner` needs, most urgent first, in phases: none of a phase is asked for while something of an earlier
   * one is still to be refined. What was not asked for yet is forgotten.
   */
  want(owner: object, ...phases: readonly (readonly Want[])[]): void;
  /** Whether nothing of these is still to come. */
  has(want: Want): boolean;
  retry(): void;
  /** Asks the kernel for something that is not kept; rejects with the reason why it does not come. */
  ask(method: string, params: unknown): Promise<Answer>;
}

/** A weight: exact, or read from the finest cell that is here, which stands for so many pairs. */
export interface CellValue {
  value: number;
  exact: boolean;
  cells?: number;
}
