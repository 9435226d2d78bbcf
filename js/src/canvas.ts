/** Canvases at the resolution of the screen, and text on them. */
import type { Palette } from "./theme";

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

export interface Surface {
  canvas: HTMLCanvasElement;
  context: CanvasRenderingContext2D;
}

export function surface(panel: string, className: string): Surface {
  const canvas = document.createElement("canvas");
  canvas.className = className;
  canvas.dataset.panel = panel;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gives no 2D canvas");
  return { canvas, context };
}

/** Sizes a canvas in CSS pixels, clears it, and leaves it drawing in CSS pixels. */
export function fit({ canvas, context }: Surface, width: number, height: number): void {
  const ratio = devicePixelRatio || 1;
  const w = Math.max(1, Math.round(width * ratio));
  const hgt = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== w || canvas.height !== hgt) {
    canvas.width = w;
    canvas.height = hgt;
    canvas.style.width = `${w / ratio}px`;
    canvas.style.height = `${hgt / ratio}px`;
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, w, hgt);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  prepare(context);
}

/** Setting a font makes the browser resolve styles, so only where a new or resized canvas has lost it. */
export function prepare(context: CanvasRenderingContext2D): void {
  if (context.textBaseline === "middle") return;
  context.font = FONT;
  context.textBaseline = "middle";
}

const widths = new Map<string, number>();

export function textWidth(context: CanvasRenderingContext2D, text: string): number {
  let width = widths.get(text);
  if (width === undefined) {
    if (widths.size > 20000) widths.clear();
    width = context.measureText(text).width;
    widths.set(text, width);
  }
  return width;
}

/** The text, shortened with an ellipsis to fit. */
export function elide(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (textWidth(context, text) <= width) return text;
  const chars = Array.from(text);
  let low = 0;
  let high = chars.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (textWidth(context, `${chars.slice(0, middle).join("")}…`) <= width) low = middle;
    else high = middle - 1;
  }
  return `${chars.slice(0, low).join("")}…`;
}

/** A label on a solid ground, for what must be read over anything else. */
export function chip(
  context: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  align: "left" | "right" | "center",
  fill: string,
  ink: string,
): void {
  const width = textWidth(context, text) + 8;
  const left = align === "left" ? x : align === "right" ? x - width : x - width / 2;
  context.fillStyle = fill;
  context.beginPath();
  context.roundRect(left, y - 8, width, 16, 3);
  context.fill();
  context.fillStyle = ink;
  context.textAlign = "left";
  context.fillText(text, left + 4, y + 0.5);
}

/** Thin diagonal lines: what the mask does not allow. */
export function hatch(context: CanvasRenderingContext2D, { page, hatch: line }: Palette): CanvasPattern {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d")!;
  pen.fillStyle = page;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = line;
  for (const x of [-6, 0, 6]) {
    pen.moveTo(x - 1, 7);
    pen.lineTo(x + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat")!;
}
