/** Along axes without labels: which text of a pair a stretch of tokens belongs to, and where special tokens are. */
import { axisOf, type HeatGeometry, labelStep } from "../heatgeometry";
import type { Tokens } from "../protocol";
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

const THICK = 3;

export function drawRails(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  shown: Shown,
  colours: Palette,
): void {
  const ink = { A: colours.rule, B: colours.muted, special: colours.ink };
  context.textAlign = "center";
  for (const side of ["keys", "queries"] as const) {
    const across = side === "keys";
    const { from: origin, start, stop, cell } = axisOf(g, side);
    if (labelStep(cell)) continue;
    let drawn = -1;
    for (const run of runs((across ? shown.columns : shown.rows).tokens)) {
      const from = (Math.max(run.start, start) - start) * cell;
      const to = (Math.min(run.stop, stop) - start) * cell;
      // Out of sight, or so short that those before hide it.
      if (to - Math.max(from, drawn) < 0.25) continue;
      drawn = to;
      const [at, long] = [origin + from, to - from];
      context.fillStyle = ink[run.kind];
      if (across) context.fillRect(at, g.top - 1 - THICK, long, THICK);
      else context.fillRect(g.left - 1 - THICK, at, THICK, long);
      if (run.kind === "special" || long < 24) continue;
      context.fillStyle = colours.muted;
      if (across) context.fillText(run.kind, at + long / 2, g.top - 27);
      else context.fillText(run.kind, g.left - 50, at + long / 2);
    }
  }
}
