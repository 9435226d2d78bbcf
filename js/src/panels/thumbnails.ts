/** The small pictures of the grid, each coloured over its own range, kept until something about it changes. */
import { paint, type Tile } from "../codes";
import { lookup, pack, ranking } from "../colour";
import { cornerOf, type GridGeometry, placeOf } from "../gridgeometry";
import { rampOf } from "../ramp";
import type { HeadIndex } from "../state";
import { palette } from "../theme";
import type { View } from "../view";

interface Picture {
  tile: Tile;
  pixels: ImageData;
}

export class Thumbnails {
  readonly #pictures = new Map<string, Picture>();
  #colours = "";

  draw(
    view: View,
    context: CanvasRenderingContext2D,
    g: GridGeometry,
    heads: readonly HeadIndex[],
    scrolled: { x: number; y: number },
  ): void {
    const { store, source } = view;
    const ratio = devicePixelRatio || 1;
    const dark = view.dark.value;
    const colours = palette(dark);
    const [width, height] = [Math.round(g.width * ratio), Math.round(g.height * ratio)];
    const look = JSON.stringify([rampOf(store, null, dark), store.range.value, width, height]);
    if (look !== this.#colours) this.#pictures.clear();
    this.#colours = look;
    for (const { layer, head } of heads) {
      const corner = cornerOf(g, placeOf(g, { layer, head }), scrolled);
      const x = Math.round(corner.x * ratio);
      const y = Math.round(corner.y * ratio);
      const tile = source.thumbnail(store.refOf({ layer, head }));
      if (!tile) {
        context.fillStyle = colours.raised;
        context.fillRect(x / ratio, y / ratio, width / ratio, height / ratio);
        continue;
      }
      const key = `${layer}|${head}`;
      let picture = this.#pictures.get(key);
      if (picture?.tile !== tile) {
        const pixels = context.createImageData(width, height);
        const ramp = rampOf(store, tile, dark);
        const lut = lookup(tile.max, ramp, pack(colours.masked), pack(colours.missing));
        paint(tile, lut, width, height, new Uint32Array(pixels.data.buffer), ranking(tile.max, ramp));
        picture = { tile, pixels };
        this.#pictures.set(key, picture);
      }
      context.putImageData(picture.pixels, x, y);
    }
    context.strokeStyle = colours.rule;
    context.lineWidth = 1;
    context.beginPath();
    for (const head of heads) {
      const { x, y } = cornerOf(g, placeOf(g, head), scrolled);
      context.rect(x - 0.5, y - 0.5, g.width + 1, g.height + 1);
    }
    context.stroke();
  }
}
