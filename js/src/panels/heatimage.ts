/** The coloured cells of a head: each tile is coloured once and then only drawn, until colours or resolution change. */
import { Cache } from "../cache";
import { hatch } from "../canvas";
import { paint } from "../codes";
import { lookup, pack, type Ramp, ranking } from "../colour";
import type { Placed } from "../datasource";
import type { HeatGeometry } from "../heatgeometry";
import { type Patch, piece, plan } from "../heatplan";
import { palette } from "../theme";

/** Bytes of coloured pixels that are kept. */
const BUDGET = 48 * 2 ** 20;

interface Picture {
  canvas: HTMLCanvasElement;
  /** Whether the ground shows through somewhere: cells that the mask does not allow. */
  holes: boolean;
}

export class HeatImage {
  #pictures = new Cache<Picture>(BUDGET);
  #tables = new Map<number, Uint32Array>();
  #hatch: CanvasPattern | null = null;
  #colours = "";
  readonly #names = new WeakMap<object, number>();
  #named = 0;

  draw(
    context: CanvasRenderingContext2D,
    g: HeatGeometry,
    placed: readonly Placed[],
    ramp: Ramp,
    dark: boolean,
  ): void {
    const colours = JSON.stringify([ramp, dark]);
    if (colours !== this.#colours) {
      this.#pictures = new Cache(BUDGET);
      this.#tables.clear();
      this.#hatch = null;
    }
    this.#colours = colours;
    this.#hatch ??= hatch(context, palette(dark));
    const [left, top] = [Math.round(g.left * g.ratio), Math.round(g.top * g.ratio)];
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingEnabled = false;
    context.fillStyle = palette(dark).raised;
    context.fillRect(left, top, Math.round(g.width * g.ratio), Math.round(g.height * g.ratio));
    // Hatched lines belong to the cells: they move along when the window does.
    const origin = (cell: number, from: number) => Math.round(-from * cell * g.ratio);
    const [x0, y0] = [origin(g.cellX, g.visible.keys[0]), origin(g.cellY, g.visible.queries[0])];
    this.#hatch.setTransform(
      new DOMMatrix([g.ratio, 0, 0, g.ratio, left + (x0 % (6 * g.ratio)), top + (y0 % (6 * g.ratio))]),
    );
    for (const patch of plan(g, placed)) {
      const { across, down } = patch;
      const { canvas, holes } = this.#picture(patch, ramp, dark);
      const [x, width] = [left + across.to[0], across.to[1] - across.to[0]];
      const [y, height] = [top + down.to[0], down.to[1] - down.to[0]];
      if (holes) {
        context.fillStyle = this.#hatch;
        context.fillRect(x, y, width, height);
      }
      const [sx, sy] = [across.from[0], down.from[0]];
      const [sw, sh] = [across.from[1] - sx, down.from[1] - sy];
      context.drawImage(canvas, sx + 1, sy + 1, sw, sh, x, y, width, height);
    }
    context.restore();
  }

  #picture(patch: Patch, ramp: Ramp, dark: boolean): Picture {
    const { tile, minus } = patch.placed;
    const { down, across } = patch;
    const name = (of: object) => {
      const found = this.#names.get(of) ?? ++this.#named;
      this.#names.set(of, found);
      return found;
    };
    const key = [
      name(tile),
      minus && name(minus),
      across.pixels,
      down.pixels,
      across.tokens,
      down.tokens,
    ].join();
    let found = this.#pictures.get(key);
    if (!found) {
      found = this.#colour(patch, ramp, dark);
      this.#pictures.set(key, found, across.pixels * down.pixels * 4);
    }
    return found;
  }

  /** With a rim of one pixel: the middle of every pixel drawn lies inside, but its edge may reach over. */
  #colour(patch: Patch, ramp: Ramp, dark: boolean): Picture {
    const [width, height] = [patch.across.pixels, patch.down.pixels];
    const { placed } = patch;
    const source = piece(patch);
    const { max } = source;
    const tableOf = (sign: number) => {
      let table = this.#tables.get(sign * max);
      if (!table) {
        table = lookup(max, ramp, 0, pack(palette(dark).missing), sign);
        this.#tables.set(sign * max, table);
      }
      return table;
    };
    const canvas = document.createElement("canvas");
    canvas.width = width + 2;
    canvas.height = height + 2;
    const pen = canvas.getContext("2d")!;
    const image = pen.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    if (placed.minus) {
      // Of what is more and what is less under a pixel the larger one shows.
      const codes = Uint32Array.from({ length: max + 1 }, (_, code) => code);
      const less = new Uint32Array(pixels.length);
      paint(source, codes, width, height, pixels);
      paint(piece({ ...patch, placed: { ...placed, tile: placed.minus } }), codes, width, height, less);
      const [warm, cool] = [tableOf(1), tableOf(-1)];
      pixels.forEach((code, i) => {
        pixels[i] = code < less[i]! ? cool[less[i]!]! : warm[code]!;
      });
    } else paint(source, tableOf(1), width, height, pixels, ranking(max, ramp));
    pen.putImageData(image, 1, 1);
    return { canvas, holes: pixels.includes(0) };
  }
}
