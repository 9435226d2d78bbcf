/** q, k and q × k as bars around zero, a column for each component. */
import type { Palette } from "../theme";

const LEFT = 46;
const TALL = 38;
const ROW = TALL + 5;
const BOTTOM = 3 * ROW;
export const HEIGHT = BOTTOM + 14;
/** What a number under the bars takes. */
const LABEL = 22;
/** Half of the last one stands out. */
const RIGHT = 8;

const pitchOf = (width: number, n: number) => Math.min((width - LEFT - RIGHT) / n, 24);

/** Which place of the order is under a point of the canvas; null beside them all. */
export function placeAt(x: number, width: number, n: number): number | null {
  const place = Math.floor((x - LEFT) / pitchOf(width, n));
  return place >= 0 && place < n ? place : null;
}

export function drawComponents(
  context: CanvasRenderingContext2D,
  width: number,
  strips: Record<string, Float32Array>,
  order: readonly number[],
  colours: Palette,
  dark: boolean,
  { at, few }: { at: number | null; few: number },
): void {
  const pitch = pitchOf(width, order.length);
  const pixel = 1 / devicePixelRatio;
  const edge = (place: number) => Math.round((LEFT + place * pitch) / pixel) * pixel;
  const gap = pitch > 3 ? 1 : 0;
  const fill = (colour: string, x: number, y: number, w: number, h: number) => {
    context.fillStyle = colour;
    context.fillRect(x, y, w, h);
  };
  const write = (text: string, x: number, y: number) => {
    context.fillStyle = colours.muted;
    context.fillText(text, x, y);
  };
  if (at !== null) fill(colours.hatch, edge(at), 0, Math.max(1, pitch), BOTTOM);
  context.textAlign = "left";
  Object.entries(strips).forEach(([name, values], row) => {
    const middle = Math.round((row * ROW + TALL / 2) / pixel) * pixel;
    const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    write(name, 0, middle - 6);
    write(`± ${most.toPrecision(2)}`, 0, middle + 8);
    fill(colours.rule, LEFT, middle, edge(order.length) - LEFT, pixel);
    order.forEach((i, place) => {
      const [value, x] = [values[i]!, edge(place)];
      // Up and down tell the sign too; the two hues are as far apart for eyes that see red and green alike.
      const colour = value > 0 ? colours.accent : dark ? "#74b3f0" : "#1f64a8";
      const high = (-value / most || 0) * (TALL / 2);
      fill(colour, x, middle, Math.max(pixel, edge(place + 1) - x - gap), high);
    });
  });
  if (few) for (let y = 0; y < BOTTOM; y += 4) fill(colours.muted, edge(few) - gap, y, 1, 2);
  context.textAlign = "center";
  for (let place = 0, step = Math.ceil(LABEL / pitch); place < order.length; place += step)
    write(String(order[place]), LEFT + (place + 0.5) * pitch, BOTTOM + 6);
}
