/** The words of a row of tokens, as they read or upright, each with its index. */
import { elide } from "../canvas";
import type { Palette } from "../theme";
import type { TokenRow } from "./graphrow";

/** How high a row is. */
export const READING = 34;
export const UPRIGHT = 96;

export interface RowLook {
  colours: Palette;
  ink: string;
  /** The weight that is opaque. */
  top: number;
  upright: boolean;
  /** Weights to or from the focused token. */
  shade: Float32Array | null;
  focus: readonly (number | null)[];
  locked: readonly (number | null)[];
}

/** `away`: what is scrolled away to the left. */
export function drawTokens(
  context: CanvasRenderingContext2D,
  row: TokenRow,
  [y, away, wide]: readonly [number, number, number],
  look: RowLook,
): void {
  const { labels, indices, starts } = row;
  const { colours, upright } = look;
  const high = upright ? UPRIGHT : READING;
  const digits = String(labels.length - 1).length * 6.5;
  const end = Math.min(indices.length, row.place(away + wide) + 1);
  for (let i = row.place(away); i < end; i++) {
    const index = indices[i]!;
    const [left, width] = [starts[i]! - away, starts[i + 1]! - starts[i]!];
    const box = (fill: string, alpha: number) => {
      context.globalAlpha = alpha;
      context.fillStyle = fill;
      context.beginPath();
      context.roundRect(left + 0.5, y + 1, width - 1, high - 2, 3);
      context.fill();
      context.globalAlpha = 1;
    };
    const weight = Math.min(1, (look.shade?.[index] ?? 0) / look.top);
    // Under half of the hue at most, so that the label on it stays readable.
    if (weight > 0.005) box(look.ink, weight * 0.45);
    const locked = look.locked.includes(index);
    const filled = index >= 0 && (locked || look.focus.includes(index));
    if (filled) box(locked ? colours.accent : colours.ink, 1);
    const strong = filled ? colours.page : index < 0 ? colours.muted : colours.ink;
    const faint = filled || weight > 0.1 ? strong : colours.muted;
    const word = labels[index] ?? "…";
    const number = index < 0 ? "" : String(index);
    context.save();
    context.translate(left + width / 2, y);
    if (upright) {
      context.translate(0, high);
      context.rotate(-Math.PI / 2);
    }
    context.fillStyle = strong;
    context.textAlign = upright ? "right" : "center";
    const room = upright ? high - digits - 16 : width - 6;
    context.fillText(elide(context, word, room), upright ? high - 5 : 0, upright ? 0.5 : 10.5);
    context.fillStyle = faint;
    if (upright) context.textAlign = "left";
    context.fillText(number, upright ? 5 : 0, upright ? 0.5 : 25);
    context.restore();
  }
}
