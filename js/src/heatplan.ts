/** Which pixels of the plot come from which pixels of which tile: arithmetic only, in device pixels. */
import { binOf, type Tile } from "./codes";
import type { Placed } from "./datasource";
import { type HeatGeometry, NUDGE } from "./heatgeometry";
import type { Range } from "./protocol";

/** Along one side: a stretch of a tile that is coloured as `pixels`, and where on the plot it is drawn. */
interface Stretch {
  /** Tokens of the tile that are coloured one by one; null: its cells are. */
  tokens: Range | null;
  pixels: number;
  /** The plot's pixels, and what of the coloured ones lands there. */
  to: Range;
  from: Range;
}

/** A rectangle to draw: some pixels of a coloured piece of a tile, onto whole pixels of the plot. */
export interface Patch {
  placed: Placed;
  down: Stretch;
  across: Stretch;
}

/** Tokens a side of the pieces in which a tile is coloured that has no whole number of tokens a cell. */
const BLOCK = 512;

/**
 * The stretches of one side. A cell that has a device pixel or more is one pixel here, drawn large without smoothing; smaller
 * ones are pooled to pixels that have at least one. Bins of uneven length are spelled out token by token.
 */
function stretches(range: Range, cells: number, level: number | undefined, visible: Range, extent: number) {
  const [start, stop] = range;
  const scale = extent / (visible[1] - visible[0]);
  const length = level === undefined ? (stop - start) / cells : 2 ** level;
  const found: Stretch[] = [];
  const add = (first: number, pixels: number, each: number, tokens: Range | null) => {
    const size = each * scale;
    const origin = (first - visible[0]) * scale;
    const pixel = (at: number) => Math.max(0, Math.min(extent, Math.ceil(at - 0.5 - NUDGE)));
    const to: Range = [pixel(origin), pixel(origin + pixels * size)];
    const source = (at: number) => (at + NUDGE - origin) / size;
    if (to[1] > to[0]) found.push({ tokens, pixels, to, from: [source(to[0]), source(to[1])] });
  };
  if (!Number.isInteger(length) && scale >= 1)
    for (let first = start; first < stop; first += BLOCK) {
      const last = Math.min(first + BLOCK, stop);
      if (last > visible[0] && first < visible[1]) add(first, last - first, 1, [first, last]);
    }
  else {
    const size = length * scale;
    // In steps while a gesture is on, so that a slow zoom does not colour every frame anew.
    const whole = visible[0] === start && visible[1] === stop;
    const most = whole || size < 1 / 8 ? cells * size + 1e-6 : (cells * Math.floor(size * 8)) / 8;
    const pixels = size >= 1 ? cells : Math.max(1, Math.floor(most));
    add(start, pixels, (length * cells) / pixels, null);
  }
  return found;
}

/** What to draw for tiles, first to last: later ones over those before. */
export function plan(g: HeatGeometry, placed: readonly Placed[]): Patch[] {
  const width = Math.round(g.width * g.ratio);
  const height = Math.round(g.height * g.ratio);
  return placed.flatMap((one) => {
    const { tile, queries, keys, level } = one;
    const columns = stretches(keys, tile.width, level, g.visible.keys, width);
    return stretches(queries, tile.height, level, g.visible.queries, height).flatMap((down) =>
      columns.map((across) => ({ placed: one, down, across })),
    );
  });
}

/** The codes of a patch's piece: of the tile itself, or spelled out token by token where its bins are uneven. */
export function piece({ placed, down, across }: Patch): Tile {
  const { tile, queries, keys } = placed;
  if (!down.tokens && !across.tokens) return tile;
  const bins = (tokens: Range | null, [start, stop]: Range, n: number) =>
    tokens
      ? Array.from({ length: tokens[1] - tokens[0] }, (_, i) => binOf(tokens[0] - start + i, stop - start, n))
      : Array.from({ length: n }, (_, i) => i);
  const rows = bins(down.tokens, queries, tile.height);
  const columns = bins(across.tokens, keys, tile.width);
  const codes = new Uint16Array(rows.length * columns.length);
  let i = 0;
  for (const row of rows) for (const column of columns) codes[i++] = tile.codes[row * tile.width + column]!;
  return { height: rows.length, width: columns.length, codes, max: tile.max };
}
