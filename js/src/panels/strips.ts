/** Along the plot: what each key receives (under it) and how wide each query looks (beside it). */
import { binOf } from "../codes";
import type { HeadShape, Marginals } from "../datasource";
import { count, formatCell, grouped } from "../format";
import { axisOf, edgeOf, type HeatGeometry, type Side, tokenAt } from "../heatgeometry";
import type { Range } from "../protocol";
import { WEIGHTS } from "../reading";
import type { Palette } from "../theme";

const THICK = 10;
const GAP = 4;
/** Beside the weights the strips stay in the background. */
const STRONGEST = 0.7;
export const STRIP_ROOM = THICK + GAP;

const bins = (m: Marginals, side: Side) => (side === "keys" ? m.received : m.entropy);

/** The bin a token falls in and its tokens; null outside of what was measured. */
function binAt(m: Marginals, side: Side, token: number): { value: number; tokens: Range } | null {
  const [start, stop] = m[side];
  if (token < start || token >= stop) return null;
  const values = bins(m, side);
  const n = stop - start;
  const bin = binOf(Math.floor(token) - start, n, values.length);
  const first = (i: number) => start + Math.floor((i * n) / values.length);
  return { value: values[bin]!, tokens: [first(bin), first(bin + 1)] };
}

export function drawStrips(
  context: CanvasRenderingContext2D,
  g: HeatGeometry,
  m: Marginals,
  { keys }: HeadShape,
  colours: Palette,
): void {
  for (const side of ["keys", "queries"] as const) {
    const across = side === "keys";
    const { from, extent } = axisOf(g, side);
    const out = GAP + (across ? g.top + g.height : g.left + g.width);
    // Entropy on its own full scale; what keys receive against the most that one of them does.
    let top = across ? 0 : Math.log2(keys);
    if (across) for (const value of m.received) if (value > top) top = value;
    const bar = (at: number, length: number) =>
      across
        ? context.fillRect(from + at, out, length, THICK)
        : context.fillRect(out, from + at, THICK, length);
    context.fillStyle = colours.raised;
    bar(0, extent);
    context.fillStyle = colours.muted;
    // Neighbouring pixels of one bin in one rectangle: as many as there are bins in sight.
    const step = 1 / g.ratio;
    for (let at = 0; at < extent - step / 2; ) {
      const token = tokenAt(g, side, from + at + step / 2);
      const found = token === null ? null : binAt(m, side, token);
      let next = at + step;
      if (found) next = Math.max(next, Math.min(extent, edgeOf(g, side, found.tokens[1]) - from));
      if (found && found.value > 0 && top > 0) {
        const share = found.value / top;
        context.globalAlpha = STRONGEST * (across ? Math.sqrt(share) : share);
        bar(at, Math.min(next, extent) - at);
      }
      at = next;
    }
    context.globalAlpha = 1;
  }
}

/** The side whose strip is under a place of the canvas. */
export function stripAt(g: HeatGeometry, x: number, y: number): Side | null {
  const [right, bottom] = [x - g.left - g.width, y - g.top - g.height];
  if (bottom >= 0 && bottom <= STRIP_ROOM && right < 0 && x >= g.left) return "keys";
  return right >= 0 && right <= STRIP_ROOM && bottom < 0 && y >= g.top ? "queries" : null;
}

/** What a strip says about a token, in words with number and unit. */
export function stripWords(
  m: Marginals,
  side: Side,
  token: number,
  shape: HeadShape,
  reading = WEIGHTS,
): string {
  const found = binAt(m, side, token);
  if (!found) return "";
  const { value, tokens } = found;
  const several = tokens[1] - tokens[0] > 1;
  const which = several ? `${side} ${tokens[0]} – ${tokens[1] - 1}: ` : "";
  if (side === "queries") {
    if (!(value >= 0)) return `${which}no key is allowed here`;
    return `${which}entropy ${value.toFixed(2)} bits${several ? " on average" : ""}, as wide as ${count(Math.round(2 ** value), "equal key")}`;
  }
  if (!(value >= 0)) return `${which}no query that was looked at may see it`;
  const all = `${grouped(shape.queries)} queries`;
  const measured = m.rows === null || m.rows >= shape.queries ? `all ${all}` : `${grouped(m.rows)} of ${all}`;
  return `${which}receives ${formatCell(value, true, reading)}${several ? " each" : ""} on average, measured on ${measured}`;
}
