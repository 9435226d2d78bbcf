/** What the kernel does with weights: pooling, and strips along the axes. */
import { binStart } from "../src/codes";
import type { Range } from "../src/protocol";
import type { MadeHead } from "./longheads";

/** Bins over a range: 2^level tokens each, or a number of them as even as they can be. */
export interface Bins {
  range: Range;
  count: number;
  start(bin: number): number;
}

export function binsOf(range: Range, size: { level?: number | undefined; count?: number | undefined }): Bins {
  const [a, b] = range;
  const { level } = size;
  if (level === undefined) {
    const count = size.count ?? b - a;
    return { range, count, start: (i) => a + binStart(i, b - a, count) };
  }
  return { range, count: Math.ceil((b - a) / 2 ** level), start: (i) => Math.min(b, a + i * 2 ** level) };
}

/** Items of [from, to), no more than `most` of them, evenly spread. */
function picked(from: number, to: number, most: number): number[] {
  const n = Math.min(most, to - from);
  return Array.from({ length: n }, (_, i) => from + Math.floor(((i + 0.5) * (to - from)) / n));
}

/** The largest weight under each cell of a row of bins; NaN where none is allowed. */
export function poolRow(head: MadeHead, down: Bins, across: Bins, bin: number, rows: number): Float32Array {
  const out = new Float32Array(across.count).fill(Number.NaN);
  const [c, d] = across.range;
  const starts = Int32Array.from({ length: across.count + 1 }, (_, x) => across.start(x) - c);
  for (const query of picked(down.start(bin), down.start(bin + 1), rows)) {
    const weights = head.row(query, c, d);
    for (let x = 0; x < across.count; x++) {
      let best = out[x]!;
      for (let k = starts[x]!; k < starts[x + 1]!; k++)
        if (weights[k]! > best || Number.isNaN(best)) best = weights[k]!;
      out[x] = best;
    }
  }
  return out;
}

export interface Strips {
  received: Float32Array;
  entropy: Float32Array;
}

/** What keys receive on average from the queries looked at, and the entropy of queries in bits, bin by bin. */
export function strips(head: MadeHead, down: Bins, across: Bins, rows: number): Strips {
  const mean = (bins: Bins, of: (i: number) => number) =>
    Float32Array.from({ length: bins.count }, (_, bin) => {
      let sum = 0;
      let n = 0;
      for (let i = bins.start(bin); i < bins.start(bin + 1); i++)
        if (!Number.isNaN(of(i))) {
          sum += of(i);
          n++;
        }
      return n ? sum / n : Number.NaN;
    });
  const total = new Float64Array(head.keys);
  const lookers = new Float64Array(head.keys);
  for (const query of picked(0, head.queries, rows))
    head.row(query, 0, head.keys).forEach((weight, key) => {
      if (Number.isNaN(weight)) return;
      total[key]! += weight;
      lookers[key]!++;
    });
  const entropies = new Map<number, number>();
  for (let bin = 0; bin < down.count; bin++)
    for (const query of picked(down.start(bin), down.start(bin + 1), 2)) {
      let bits = 0;
      for (const weight of head.row(query, 0, head.keys)) if (weight > 0) bits -= weight * Math.log2(weight);
      entropies.set(query, bits);
    }
  return {
    received: mean(across, (key) => total[key]! / lookers[key]!),
    entropy: mean(down, (query) => entropies.get(query) ?? Number.NaN),
  };
}
