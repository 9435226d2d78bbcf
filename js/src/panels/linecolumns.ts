/** The two token columns of the line view. */
import { elide } from "../canvas";
import type { Range } from "../protocol";
import type { Palette } from "../theme";
import type { Window } from "../window";

export interface LinesGeometry {
  /** The tokens of the two columns: half-open ranges. */
  queries: Range;
  keys: Range;
  /** Inner edges of the two columns of labels. */
  left: number;
  right: number;
  pad: number;
  pitch: number;
  total: number;
}

const PITCH_LEAST = 17;
const PITCH_MOST = 30;
/** Height of the part of a stripe that no label covers. */
const STRIPE = 4;

const whole = ([a, b]: Range): Range => [Math.floor(a), Math.ceil(b)];

export function linesGeometry(window: Window, width: number, height: number): LinesGeometry {
  const [queries, keys] = [whole(window.queries), whole(window.keys)];
  const rows = Math.max(queries[1] - queries[0], keys[1] - keys[0]);
  const pad = 4;
  const pitch = Math.max(PITCH_LEAST, Math.min(PITCH_MOST, Math.floor((height - 2 * pad) / rows)));
  // Long indices take room from the words.
  const digits = String(Math.max(queries[1], keys[1])).length;
  const left = Math.round(Math.min(130, width * (0.32 + 0.02 * Math.max(0, digits - 3))));
  return { queries, keys, left, right: width - left, pad, pitch, total: rows * pitch + 2 * pad };
}

/** The tokens of a column that are not scrolled away. */
export function inSight(g: LinesGeometry, [a, b]: Range, away: number, height: number): Range {
  const first = a + Math.max(0, Math.floor((away - g.pad) / g.pitch));
  return [Math.min(first, b), Math.min(b, a + Math.ceil((away + height - g.pad) / g.pitch))];
}

export interface Stripe {
  ink: string;
  values: Float32Array | null;
}

interface Column {
  context: CanvasRenderingContext2D;
  g: LinesGeometry;
  colours: Palette;
  /** What is scrolled away above, and the height in sight. */
  away: number;
  height: number;
  /** The weight that is opaque. */
  top: number;
  /** Whether these are the queries, on the left. */
  left: boolean;
  labels: readonly string[];
  /** Per head drawn, its hue and its weights to or from the focused token on the other side. */
  stripes: readonly Stripe[];
  focus: number | null;
  locked: number | null;
}

export function drawColumn(column: Column): void {
  const { context, g, colours, left, labels, stripes } = column;
  const range = left ? g.queries : g.keys;
  const [first, end] = inSight(g, range, column.away, column.height);
  const edge = left ? g.left : g.right;
  const outer = left ? 1 : g.right + g.left - 1;
  const number = String(labels.length - 1).length * 6.5 + 6;
  for (let i = first; i < end; i++) {
    const y = g.pad + (i - range[0]) * g.pitch - column.away;
    const x = left ? outer : edge;
    const width = Math.abs(edge - outer);
    let shaded = false;
    stripes.forEach(({ ink, values }, nth) => {
      const weight = Math.min(1, (values?.[i] ?? 0) / column.top);
      if (!(weight > 0.005)) return;
      shaded ||= weight > 0.1;
      const [from, to] = [nth, nth + 1].map((part) => x + (part * width) / stripes.length) as [
        number,
        number,
      ];
      context.fillStyle = ink;
      // Under half of the hue at most, so that the label on it stays readable; below it, all of it.
      context.globalAlpha = weight * 0.45;
      context.fillRect(from, y + 1, to - from, g.pitch - 2);
      context.globalAlpha = weight;
      context.fillRect(from, y + g.pitch - STRIPE, to - from, STRIPE - 1);
    });
    context.globalAlpha = 1;
    const locked = column.locked === i;
    if (column.focus === i || locked) {
      context.fillStyle = locked ? colours.accent : colours.ink;
      context.beginPath();
      context.roundRect(x, y + 0.5, width, g.pitch - 1, 3);
      context.fill();
      context.fillStyle = colours.page;
    } else context.fillStyle = colours.ink;
    context.textAlign = left ? "right" : "left";
    const text = elide(context, labels[i]!, width - number - 14);
    const middle = y + g.pitch / 2 + 0.5;
    context.fillText(text, left ? edge - 9 : edge + 9, middle);
    // On a shade the muted ink would be too faint to read.
    if (column.focus !== i && !locked && !shaded) context.fillStyle = colours.muted;
    context.textAlign = left ? "left" : "right";
    context.fillText(String(i), left ? outer + 4 : outer - 4, middle);
  }
}
