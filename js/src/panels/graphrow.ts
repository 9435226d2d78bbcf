/** Tokens side by side along a line: as they read where there is room, else upright. */
import type { Range } from "../protocol";
import { merged } from "./textparts";

export interface TokenRow {
  labels: readonly string[];
  upright: boolean;
  high: number;
  /** The tokens in order; -1 where some between them are out of the window. */
  indices: readonly number[];
  /** Where each of them starts, and where the last one ends. */
  starts: readonly number[];
  /** The middle of a token; not a number if it is not in the row. */
  middle(index: number): number;
  /** The place in `indices` under an x, from 0 to their number. */
  place(x: number): number;
}

const PITCH = 17;
const LABEL_MOST = 110;
/** A word has this around it, and what is left out takes as much room. */
const AROUND = 12;

export function tokenRow(
  labels: readonly string[],
  ranges: readonly Range[],
  width: number,
  measure: (text: string) => number,
): TokenRow {
  const indices = merged(ranges, labels.length, 0).flatMap(([a, b], nth) => [
    ...(nth ? [-1] : []),
    ...Array.from({ length: b - a }, (_, i) => a + i),
  ]);
  const n = indices.length;
  const sum = (all: number[]) => all.reduce((a, b) => a + b, 0);
  // Of tens of thousands of words nobody needs to know how wide they are.
  let widths =
    n * PITCH > width
      ? []
      : indices.map((i) => AROUND + Math.max(AROUND, Math.min(LABEL_MOST, measure(labels[i] ?? ""))));
  const upright = !widths.length || sum(widths) > width;
  if (upright) widths = indices.map(() => PITCH);
  const spare = Math.max(0, Math.min(upright ? AROUND : LABEL_MOST, (width - sum(widths)) / n));
  let end = 0;
  const starts = [0, ...widths.map((each) => (end += each + spare))];
  const places = new Map(indices.map((index, i) => [index, i]));
  return {
    ...{ labels, upright, indices, starts },
    high: upright ? 88 : 34,
    middle(index) {
      const i = places.get(index) ?? Number.NaN;
      return (starts[i]! + starts[i + 1]!) / 2;
    },
    place(x) {
      const after = starts.findIndex((start) => start > x);
      return after < 0 ? n : Math.max(0, after - 1);
    },
  };
}
