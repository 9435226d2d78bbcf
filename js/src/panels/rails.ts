/** Along axes without labels: which text of a pair a stretch of tokens belongs to, and where special tokens are. */
import { type HeatGeometry, labelStep } from "../heatgeometry";
import type { Range, Tokens } from "../protocol";
import type { Shown } from "../state";
import type { Palette } from "../theme";

interface Run {
  start: number;
  stop: number;
  kind: "A" | "B" | "special";
}

const known = new WeakMap<Tokens, readonly Run[]>();

/** Neighbours of one kind as one run; none where there is only one text. Read once per text. */
export function runs(tokens: Tokens): readonly Run[] {
  let found = known.get(tokens);
  if (found) return found;
  const made: Run[] = [];
  if (tokens.segment.includes(1))
    tokens.segment.forEach((segment, i) => {
      const kind = tokens.special[i] ? "special" : segment ? "B" : "A";
      const last = made.at(-1);
      if (last?.kind === kind) last.stop = i + 1;
      else made.push({ start: i, stop: i + 1, kind });
    });
  found = made;
  known.set(tokens, found);
  return found;
}

/** The first run that ends after a token. */
export function firstAfter(all: readonly Run[], token: number): number {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (all[middle]!.stop > token) high = middle;
    else low = middle + 1;
  }
  return low;
}

const THICK = 3;

export function drawRails(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  colours: Palette,
): void {
  const ink = { A: colours.rule, B: colours.muted, special: colours.ink };
  const side = (
    tokens: Tokens,
    [start, stop]: Range,
    cell: number,
    rail: (kind: Run["kind"], at: number, length: number) => void,
  ) => {
    if (labelStep(cell) !== 0) return;
    const all = runs(tokens);
    let drawn = -1;
    for (let i = firstAfter(all, start); i < all.length && all[i]!.start < stop; i++) {
      const from = (Math.max(all[i]!.start, start) - start) * cell;
      const to = (Math.min(all[i]!.stop, stop) - start) * cell;
      // Many short runs under one pixel would hide each other anyway.
      if (to - drawn < 0.25) continue;
      drawn = to;
      context.fillStyle = ink[all[i]!.kind];
      rail(all[i]!.kind, from, Math.max(to - from, 1));
    }
  };
  const letter = (kind: Run["kind"], length: number, x: number, y: number) => {
    if (kind === "special" || length < 24) return;
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    context.fillText(kind, x, y);
  };
  side(shown.columns.tokens, g.visible.keys, g.cellX, (kind, at, length) => {
    context.fillRect(g.left + at, g.top - 1 - THICK, length, THICK);
    letter(kind, length, g.left + at + length / 2, g.top - 27);
  });
  side(shown.rows.tokens, g.visible.queries, g.cellY, (kind, at, length) => {
    context.fillRect(g.left - 1 - THICK, g.top + at, THICK, length);
    letter(kind, length, g.left - 50, g.top + at + length / 2);
  });
}
