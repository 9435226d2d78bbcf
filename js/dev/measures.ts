/** What made-up heads do, in numbers: some of the measures of attnwidget/analysis. */
import type { MadeHead } from "./longheads";

export const MEASURES: [string, string, string][] = [
  ["pair", "locked pair", ""],
  ["entropy", "entropy", "bits"],
  ["spread", "entropy over that of an even row", ""],
  ["distance", "mean distance", "tokens"],
  ["max", "largest weight", ""],
  ["first", "on the first token", ""],
  ["self", "on itself", ""],
  ["previous", "on the token before", ""],
  ["next", "on the token after", ""],
];

export const NAMES = MEASURES.slice(1).map(([name]) => name);

/** The measures of one head and what it does most, from so many of its queries. */
export function measure(head: MadeHead, queries: number, keys: number, rows: number) {
  const sums = NAMES.map(() => 0);
  const looked = Math.min(rows, queries);
  for (let nth = 0; nth < looked; nth++) {
    const q = Math.floor((nth * queries) / looked);
    const w = head.row(q, 0, keys).map((x) => x || 0);
    const entropy = w.reduce((sum, x) => sum - (x > 0 ? x * Math.log2(x) : 0), 0);
    const distance = w.reduce((sum, x, k) => sum + x * Math.abs(q - k), 0);
    const row = [entropy, entropy / Math.log2(keys), distance, Math.max(...w), w[0]!];
    row.push(w[q] ?? 0, w[q - 1] ?? 0, w[q + 1] ?? 0);
    row.forEach((value, i) => {
      sums[i]! += value / looked;
    });
  }
  const best = [4, 5, 6, 7].sort((a, b) => sums[b]! - sums[a]!)[0]!;
  const named = sums[best]! >= 0.4;
  const label = named
    ? `${MEASURES[best + 1]![0]} head, ${sums[best]!.toPrecision(3)} ${MEASURES[best + 1]![1]}`
    : `mixed head, entropy ${sums[1]!.toPrecision(3)} of that of an even row`;
  return { values: sums, label };
}
