/** The shape of an arc from a query to a key, and its drawing: thick and opaque as its weight, with a head at the key. */

export interface ArcSpace {
  /** Queries and keys are one row of tokens: arcs above it look back, arcs below look ahead. Else keys stand over queries. */
  one: boolean;
  /** Where the upper and the lower ends of arcs are: over and under the one row, or under the keys and over the queries. */
  over: number;
  under: number;
  /** How high the highest arc is, and how far apart its ends are. */
  high: number;
  far: number;
}

/** A curve: start, two control points, end; and whether its end is entered from above (-1) or from below (1). */
export interface Arc {
  curve: readonly [number, number, number, number, number, number, number, number];
  out: -1 | 1;
}

/** Ends of arcs in and out of one token stand so far apart. */
const APART = 3;
const LOOP = 26;

export function arcOf(from: number, to: number, { one, over, under, high, far }: ArcSpace): Arc {
  if (!one) {
    const bend = (under - over) / 2;
    return { curve: [from, under, from, under - bend, to, over + bend, to, over], out: 1 };
  }
  if (from === to) {
    const [a, b] = [from - APART, from + APART];
    return { curve: [a, over, a - 12, over - LOOP, b + 12, over - LOOP, b, over], out: -1 };
  }
  const out = to < from ? -1 : 1;
  const y = out < 0 ? over : under;
  // A curve rises to three quarters of its control points.
  const rise = out * Math.max(LOOP, (high * Math.sqrt(Math.min(1, Math.abs(to - from) / far)) * 4) / 3);
  const [a, b] = [from + out * APART, to - out * APART];
  return { curve: [a, y, a, y + rise, b, y + rise, b, y], out };
}

/** `strength`: from 0 to 1; `thick`: the width of the strongest. */
export function drawArc(
  context: CanvasRenderingContext2D,
  { curve, out }: Arc,
  strength: number,
  thick: number,
) {
  const [x0, y0, ax, ay, bx, by, x1, y1] = curve;
  const width = 0.5 + thick * strength;
  const size = 3 + width;
  const base = y1 + out * size;
  context.globalAlpha = strength;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x0, y0);
  context.bezierCurveTo(ax, ay, bx, by, x1, base);
  context.stroke();
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x1 - size * 0.6, base);
  context.lineTo(x1 + size * 0.6, base);
  context.fill();
}
