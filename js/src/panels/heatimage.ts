/** The coloured cells of one head, kept as pixels until head, colours or size change. */
import { hatch } from "../canvas";
import { paint, type Tile } from "../codes";
import { lookup, pack, type Ramp } from "../colour";
import type { HeatGeometry } from "../heatgeometry";
import { palette } from "../theme";

export class HeatImage {
  readonly #canvas = document.createElement("canvas");
  #tile: Tile | null = null;
  #colours = "";
  #hatch: CanvasPattern | null = null;
  #dark = false;

  draw(
    context: CanvasRenderingContext2D,
    g: HeatGeometry,
    tile: Tile | null,
    ramp: Ramp,
    dark: boolean,
  ): void {
    // Hatched is what the mask forbids; what has not come is plain.
    if (dark !== this.#dark) this.#hatch = null;
    this.#dark = dark;
    this.#hatch ??= hatch(context, palette(dark));
    context.fillStyle = tile ? this.#hatch : palette(dark).raised;
    context.fillRect(g.left, g.top, g.width, g.height);
    if (!tile) return;
    const colours = `${JSON.stringify(ramp)} ${g.columns} ${g.rows}`;
    if (tile !== this.#tile || colours !== this.#colours) {
      this.#canvas.width = g.columns;
      this.#canvas.height = g.rows;
      const pen = this.#canvas.getContext("2d")!;
      const pixels = pen.createImageData(g.columns, g.rows);
      const lut = lookup(tile.max, ramp, 0, pack(palette(dark).missing));
      paint(tile, lut, g.columns, g.rows, new Uint32Array(pixels.data.buffer));
      pen.putImageData(pixels, 0, 0);
      this.#tile = tile;
      this.#colours = colours;
    }
    context.imageSmoothingEnabled = false;
    context.drawImage(this.#canvas, g.left, g.top, g.width, g.height);
  }
}
