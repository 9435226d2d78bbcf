/** Which parts of a long text are laid out: all of it, or what of the ranges in sight there is room for. */
import type { Range } from "../protocol";

/** Tokens laid out at a time, over all texts of a panel: each is an element, and elements cost the browser. */
export const MOST = 600;
/** A gap this short is laid out too: a mark would take as much room. */
const GAP = 12;

/** Ranges in order, in whole tokens, inside the text; those that touch, or nearly, become one. */
export function merged(ranges: readonly Range[], n: number, gap = GAP): Range[] {
  const out: Range[] = [];
  const whole = ranges.map(([a, b]): Range => [Math.max(0, Math.floor(a)), Math.min(n, Math.ceil(b))]);
  for (const [a, b] of whole.sort((x, y) => x[0] - y[0])) {
    const last = out.at(-1);
    if (last && a <= last[1] + gap) last[1] = Math.max(last[1], b);
    else if (b > a) out.push([a, b]);
  }
  return out;
}

export const holds = (parts: readonly Range[], index: number) =>
  parts.some(([a, b]) => index >= a && index < b);

/**
 * The parts of a text of `n` tokens to lay out. A short text is laid out whole; of a long one what is in `ranges`, and where
 * that is more than `most`, what is around the anchors; a range without an anchor shows its middle, a whole text its start.
 */
export function textParts(
  n: number,
  ranges: readonly Range[],
  anchors: readonly number[],
  most = MOST,
): Range[] {
  if (n <= most) return [[0, n]];
  const all = merged(ranges, n);
  if (all.reduce((sum, [a, b]) => sum + b - a, 0) <= most) return all;
  const centres = all.flatMap(([a, b]): [number, Range][] => {
    const here = [...new Set(anchors)].filter((i) => i >= a && i < b);
    const middle = b - a === n ? 0 : Math.floor((a + b) / 2);
    return (here.length ? here : [middle]).map((i) => [i, [a, b]]);
  });
  const room = Math.floor(most / centres.length);
  return merged(
    centres.map(([i, [a, b]]): Range => {
      const from = Math.max(a, Math.min(b - room, i - Math.floor(room / 2)));
      return [from, Math.min(b, from + room)];
    }),
    n,
    0,
  );
}
