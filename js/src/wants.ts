/** What a view needs, and the name it has in the cache. */
import { headName, headsOf } from "./aggregates";
import type { Tile } from "./codes";
import type { HeadRef, HeadShape, Marginals, PairDetail } from "./datasource";
import { EXACT_CELLS, type Range, SAMPLE_ROWS, THUMBNAIL, TILE, type WindowTrait } from "./protocol";
import { type Place, rangesOf } from "./pyramid";
import type { Window } from "./window";

/** A picture of a whole head, or a tile of its pyramid. */
export type TileWant = { ref: HeadRef } & ({ kind: "thumbnail" | "detail" } | ({ kind: "tile" } & Place));

export type MarginalsWant = { kind: "marginals"; ref: HeadRef; window: WindowTrait };

/** Of all heads of a stack: what they do, or what they make of one pair. */
export type HeadsWant =
  | { kind: "patterns"; ref: HeadRef }
  /** One that was added, by its number; how far it varies follows, where that is known. */
  | { kind: "map"; ref: HeadRef; index: number }
  | { kind: "pair"; ref: HeadRef; query: number; key: number };

/** What every head does, in numbers: measures x heads, row by row, layer by layer; NaN where one does not apply. */
export interface Patterns {
  measures: string[];
  table: Float32Array;
  /** What each head does most, in words. */
  labels: string[];
  /** Queries looked at; null: all of them. */
  rows: number | null;
  queries: number;
}

export type Want =
  | TileWant
  | HeadsWant
  | { kind: "values"; ref: HeadRef }
  | { kind: "row" | "column"; ref: HeadRef; index: number }
  | MarginalsWant
  /** How one weight came about. */
  | { kind: "qk"; ref: HeadRef; query: number; key: number }
  /** A tile that is here, but sampled, is to become exact. */
  | { kind: "refine"; ref: HeadRef; of: TileWant };

/** What the kernel does not know, and why: an answer like any other. */
export interface Refusal {
  why: string;
}

/**
 * What can come: a tile, exact weights (row-major, NaN where masked), strips along the axes, a table of heads, or how a
 * weight came about.
 */
export type Item = Tile | Float32Array | Marginals | Patterns | PairDetail | Refusal;

export function isTile(want: Want): want is TileWant {
  return want.kind === "thumbnail" || want.kind === "detail" || want.kind === "tile";
}

export const headKey = (ref: HeadRef) => `${ref.batch}|${headName(ref)}|${ref.measure ?? ""}|${ref.stack}`;

export function wantKey(want: Want): string {
  if (want.kind === "refine") return `refine ${wantKey(want.of)}`;
  const which =
    want.kind === "tile"
      ? `${want.level},${want.row},${want.column}`
      : "index" in want
        ? want.index
        : want.kind === "marginals"
          ? want.window
          : "query" in want
            ? `${want.query},${want.key}`
            : "";
  return `${want.kind}|${which}|${headKey(want.ref)}`;
}

const area = ([a, b]: Range, [c, d]: Range) => (b - a) * (d - c);

/** What lies under a tile, its size in cells, and how it is asked for at first. */
export interface Extent extends Window {
  height: number;
  width: number;
  /** Queries to look at under each cell; undefined: all of them, because they are few enough. */
  rows: number | undefined;
  /** Weights the kernel looks at. */
  looked: number;
}

/** Weights looked at, at most, for the first picture of many heads as one: about a second's work. */
const MOST = 2 ** 27;

export function extentOf(want: TileWant, shape: HeadShape): Extent {
  const heads = headsOf(want.ref);
  const most = heads > 1 && shape.queries > TILE ? Math.floor(MOST / (shape.keys * heads)) : TILE;
  const side = want.kind === "thumbnail" ? THUMBNAIL : Math.max(THUMBNAIL, Math.min(TILE, most));
  const { queries, keys } =
    want.kind === "tile"
      ? rangesOf(want, shape)
      : { queries: [0, shape.queries] as Range, keys: [0, shape.keys] as Range };
  const cells = ([a, b]: Range) =>
    want.kind === "tile" ? Math.ceil((b - a) / 2 ** want.level) : Math.min(b - a, side);
  const [height, width] = [cells(queries), cells(keys)];
  const all = area(queries, keys) * heads;
  const rows = all > EXACT_CELLS ? (heads > 1 ? 1 : SAMPLE_ROWS) : undefined;
  return {
    ...{ queries, keys, height, width, rows },
    looked: rows ? Math.min(all, rows * height * (keys[1] - keys[0]) * heads) : all,
  };
}

/** Whether a tile covers so much that it is sampled first. */
export const isLong = (want: TileWant, shape: HeadShape) => extentOf(want, shape).rows !== undefined;
