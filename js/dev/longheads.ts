/**
 * Heads of any length made up in the page, whose every weight is one formula: what a row must be divided by is known
 * without looking at the row, so that a tile costs what the tile holds.
 */

export interface MadeHead {
  readonly queries: number;
  readonly keys: number;
  /** Weights of one query for keys [from, to): NaN where a causal mask forbids the pair. */
  row(query: number, from: number, to: number): Float32Array;
}

/** A number in [0, 1) that looks random and depends on the two alone. */
function hash(a: number, b: number): number {
  let x = Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  return ((x ^ (x >>> 12)) >>> 0) / 2 ** 32;
}

/** A fall-off with distance, a sink, the token before and a few keys that many look at; each row sums to 1. */
export function longHead(
  layer: number,
  head: number,
  queries: number,
  keys: number,
  causal: boolean,
): MadeHead {
  const seed = layer * 64 + head;
  const part = Array.from({ length: 4 }, (_, i) => 0.1 + hash(seed, i));
  const all = part.reduce((sum, p) => sum + p, 0);
  const [near, sink, before, liked] = part.map((p) => p / all) as [number, number, number, number];
  const fall = Math.exp(-1 / (4 + 60 * hash(seed, 9)));
  const likes = Float64Array.from({ length: keys }, (_, k) => hash(seed + 7, k) ** 8 + 1e-3);
  const sums = new Float64Array(keys + 1);
  for (let k = 0; k < keys; k++) sums[k + 1] = sums[k]! + likes[k]!;
  const powers = Float64Array.from({ length: keys }, (_, d) => fall ** d);
  /** fall^0 + ... + fall^n */
  const geometric = (n: number) => (1 - fall ** (n + 1)) / (1 - fall);
  return {
    queries,
    keys,
    row(query, from, to) {
      const at = Math.floor((query * keys) / queries);
      const last = causal ? at : keys - 1;
      const previous = Math.max(0, at - 1);
      const spread = near / (geometric(at) + geometric(last - at) - 1);
      const rest = liked / sums[last + 1]!;
      const out = new Float32Array(to - from).fill(Number.NaN);
      for (let k = from; k < Math.min(to, last + 1); k++)
        out[k - from] = spread * powers[Math.abs(at - k)]! + rest * likes[k]!;
      if (from === 0) out[0]! += sink;
      if (previous >= from && previous < to) out[previous - from]! += before;
      return out;
    },
  };
}

/** A head whose weights are all there. */
export function fullHead(weights: Float32Array, queries: number, keys: number): MadeHead {
  return {
    queries,
    keys,
    row: (query, from, to) => weights.subarray(query * keys + from, query * keys + to),
  };
}

/** The mean or the largest of the weights of several heads with one mask. */
export function asOne(heads: readonly MadeHead[], reduce: "mean" | "max"): MadeHead {
  const { queries, keys } = heads[0]!;
  return {
    queries,
    keys,
    row(query, from, to) {
      const rows = heads.map((head) => head.row(query, from, to));
      return Float32Array.from({ length: to - from }, (_, i) =>
        reduce === "max"
          ? Math.max(...rows.map((row) => row[i]!))
          : rows.reduce((sum, row) => sum + row[i]!, 0) / heads.length,
      );
    },
  };
}
