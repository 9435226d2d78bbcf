/** The words of a row of tokens, as they read or upright, each with its index. */
import { elide } from "../canvas";
import type { Palette } from "../theme";
import type { TokenRow } from "./graphrow";

export interface RowLook {
  colours: Palette;
  ink: string;
  /** How strong a weight is, from 0 to 1. */
  strength(weight: number): number;
  /** Where the row starts, what of it is scrolled away to the left, and the width in sight. */
  y: number;
  away: number;
  width: number;
  /** Weights to or from the focused token. */
  shade: Float32Array | null;
  focus: readonly (number | null)[];
  locked: readonly (number | null)[];
}

export function drawTokens(context: CanvasRenderingContext2D, row: TokenRow, look: RowLook): void {
  const { labels, indices, starts, upright, high } = row;
  const { colours, away } = look;
  const digits = String(labels.length - 1).length * 6.5;
  const end = Math.min(indices.length, row.place(away + look.width) + 1);
  for (let i = row.place(away); i < end; i++) {
    const index = indices[i]!;
    const wide = starts[i + 1]! - starts[i]!;
    const weight = look.strength(look.shade?.[index] ?? 0);
    const locked = look.locked.includes(index);
    const filled = locked || look.focus.includes(index);
    context.save();
    context.translate(starts[i]! - away + wide / 2, look.y);
    if (filled || weight > 0.005) {
      context.fillStyle = locked ? colours.accent : filled ? colours.ink : look.ink;
      // A shade is under half of the hue at most, so that the label on it stays readable.
      context.globalAlpha = filled ? 1 : weight * 0.45;
      context.beginPath();
      context.roundRect(0.5 - wide / 2, 1, wide - 1, high - 2, 3);
      context.fill();
      context.globalAlpha = 1;
    }
    if (upright) {
      context.translate(0, high);
      context.rotate(-Math.PI / 2);
    }
    const write = (text: string, x: number, y: number, align: CanvasTextAlign, ink: string) => {
      context.fillStyle = filled ? colours.page : ink;
      context.textAlign = upright ? align : "center";
      context.fillText(text, upright ? x : 0, upright ? 0.5 : y);
    };
    write(
      elide(context, labels[index] ?? "…", upright ? high - digits - 16 : wide - 6),
      ...([high - 5, 10.5, "right", colours.ink] as const),
    );
    // On a shade the muted ink would be too faint to read.
    if (index >= 0) write(String(index), 5, 25, "left", weight > 0.1 ? colours.ink : colours.muted);
    context.restore();
  }
}
