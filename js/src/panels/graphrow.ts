/** Tokens side by side along a line: as they read where there is room, else turned upright. */
import type { Range } from "../protocol";
import { merged } from "./textparts";

export interface TokenRow {
  labels: readonly string[];
  /** The tokens in order; -1 where some between them are out of the window. */
  indices: readonly number[];
  /** Where each of them starts, and where the last one ends. */
  starts: Float64Array;
  /** The middle of a token; not a number if it is not in the row. */
  middle(index: number): number;
  /** The place in `indices` under an x, from 0 to their number. */
  place(x: number): number;
}

const PITCH_LEAST = 17;
const SPARE_MOST = 36;
const LABEL_MOST = 110;
/** A word has this around it, and what is left out takes as much room. */
const AROUND = 12;

/** How wide each place of a row is as its words read; null if they do not fit. */
export function reading(
  labels: readonly string[],
  indices: readonly number[],
  width: number,
  measure: (text: string) => number,
): number[] | null {
  if (indices.length * PITCH_LEAST > width) return null;
  const widths = indices.map(
    (i) => AROUND + Math.max(AROUND, Math.min(LABEL_MOST, measure(labels[i] ?? ""))),
  );
  return widths.reduce((a, b) => a + b, 0) <= width ? widths : null;
}

export function placesOf(ranges: readonly Range[], n: number): number[] {
  return merged(ranges, n, 0).flatMap(([a, b], nth) => [
    ...(nth ? [-1] : []),
    ...Array.from({ length: b - a }, (_, i) => a + i),
  ]);
}

/** `widths` null: upright, all as wide. */
export function tokenRow(
  labels: readonly string[],
  indices: readonly number[],
  widths: readonly number[] | null,
  width: number,
): TokenRow {
  const n = indices.length;
  const least = widths?.reduce((a, b) => a + b, 0) ?? n * PITCH_LEAST;
  const spare = Math.max(0, Math.min(widths ? SPARE_MOST : AROUND, (width - least) / n));
  const starts = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) starts[i + 1] = starts[i]! + (widths?.[i] ?? PITCH_LEAST) + spare;
  const first = new Map<number, number>();
  indices.forEach((index, i) => {
    first.set(index, i);
  });
  return {
    labels,
    indices,
    starts,
    middle(index) {
      const i = first.get(index);
      return i === undefined ? Number.NaN : (starts[i]! + starts[i + 1]!) / 2;
    },
    place(x) {
      let [low, high] = [0, n];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (starts[middle + 1]! <= x) low = middle + 1;
        else high = middle;
      }
      return low;
    },
  };
}
