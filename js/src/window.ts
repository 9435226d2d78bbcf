/** The part of a head that is shown: ranges of queries and keys, half-open; with fractions while a gesture is on. */

import type { HeadShape } from "./datasource";
import type { Range, WindowTrait } from "./protocol";

export interface Window {
  queries: Range;
  keys: Range;
}

/** Tokens a side that stay visible when zoomed in as far as it goes. */
export const LEAST = 4;

export const whole = ({ queries, keys }: HeadShape): Window => ({ queries: [0, queries], keys: [0, keys] });

export const isWhole = (w: Window, { queries, keys }: HeadShape) =>
  w.queries[0] <= 0 && w.keys[0] <= 0 && w.queries[1] >= queries && w.keys[1] >= keys;

export const sameWindow = (a: Window, b: Window) =>
  a.queries[0] === b.queries[0] &&
  a.queries[1] === b.queries[1] &&
  a.keys[0] === b.keys[0] &&
  a.keys[1] === b.keys[1];

/** Tokens of the longer side. */
export const longest = ({ queries, keys }: Window) => Math.max(queries[1] - queries[0], keys[1] - keys[0]);

/** A range of the same length inside [0, n); all of it if it is longer. */
function inside([start, stop]: Range, n: number): Range {
  const length = Math.min(Math.max(stop - start, Math.min(LEAST, n)), n);
  const from = Math.max(0, Math.min(n - length, start));
  return [from, from + length];
}

export const clampWindow = (w: Window, { queries, keys }: HeadShape): Window => ({
  queries: inside(w.queries, queries),
  keys: inside(w.keys, keys),
});

/** Zoomed by a factor (below 1: in) around a point that stays where it is. Both sides zoom alike until one is whole. */
export function zoomed(w: Window, shape: HeadShape, factor: number, query: number, key: number): Window {
  const scale = ([start, stop]: Range, n: number, at: number): Range => {
    const length = stop - start;
    const next = Math.max(Math.min(LEAST, n), Math.min(n, length * factor));
    const from = at - ((at - start) * next) / length;
    return [from, from + next];
  };
  return clampWindow(
    { queries: scale(w.queries, shape.queries, query), keys: scale(w.keys, shape.keys, key) },
    shape,
  );
}

export const panned = (w: Window, shape: HeadShape, queries: number, keys: number): Window =>
  clampWindow(
    {
      queries: [w.queries[0] + queries, w.queries[1] + queries],
      keys: [w.keys[0] + keys, w.keys[1] + keys],
    },
    shape,
  );

/** The window moved until it holds a token: just so far if it is near, else with the token in its middle. */
export function revealing(w: Window, shape: HeadShape, query: number | null, key: number | null): Window {
  const by = ([start, stop]: Range, at: number | null) => {
    if (at === null || (at >= start && at + 1 <= stop)) return 0;
    const off = at < start ? at - start : at + 1 - stop;
    return Math.abs(off) < (stop - start) / 4 ? off : at + 0.5 - (start + stop) / 2;
  };
  const [down, right] = [by(w.queries, query), by(w.keys, key)];
  return down || right ? panned(w, shape, down, right) : w;
}

/**
 * The window for a box that was drawn inside `w`: all of the box, grown so that cells keep their shape. A box over all of one
 * side leaves that side as it is.
 */
export function boxed(w: Window, shape: HeadShape, box: Window): Window {
  const share = (side: "queries" | "keys") => (box[side][1] - box[side][0]) / (w[side][1] - w[side][0]);
  const [down, across] = [share("queries"), share("keys")];
  const free = Math.max(down, across) > 0.9;
  const grown = (side: "queries" | "keys", own: number): Range => {
    if (own > 0.9) return w[side];
    const [[start, stop], [from, to]] = [box[side], w[side]];
    const length = (to - from) * (free ? own : Math.max(down, across));
    return [(start + stop - length) / 2, (start + stop + length) / 2];
  };
  return clampWindow({ queries: grown("queries", down), keys: grown("keys", across) }, shape);
}

/** As whole tokens: neither grown nor shrunk by more than a half, or a window that is moved often would not keep its size. */
export const toTrait = (w: Window, shape: HeadShape): WindowTrait | null => {
  const ends = ([start, stop]: Range, n: number): Range => {
    const length = Math.max(1, Math.min(n, Math.round(stop - start)));
    const from = Math.max(0, Math.min(n - length, Math.round(start)));
    return [from, from + length];
  };
  const rounded = { queries: ends(w.queries, shape.queries), keys: ends(w.keys, shape.keys) };
  return isWhole(rounded, shape) ? null : [...rounded.queries, ...rounded.keys];
};

export const fromTrait = (trait: WindowTrait | null, shape: HeadShape): Window =>
  trait ? clampWindow({ queries: [trait[0], trait[1]], keys: [trait[2], trait[3]] }, shape) : whole(shape);
