/** The wire between the kernel and the page; attnwidget/widget/README.md is its specification. */

export const PROTOCOL_VERSION = 2;
export const LOG2_MIN = -32;
export const CODE_MASKED = 0;
export const CODE_MISSING = 1;
export const CODE_ZERO = 2;
export const CODE_FIRST = 3;
export const CODE_MAX_U8 = 255;
export const CODE_MAX_U16 = 65535;
export const THUMBNAIL = 48;
export const TILE = 512;
export const PYRAMID_TILE = 256;
export const EXACT_CELLS = 16777216;
export const SAMPLE_ROWS = 2;
export const MAX_REPLY_BYTES = 16777216;
export const MAX_IN_FLIGHT = 2;
export const COLORMAPS = ["oslo", "cividis", "magma", "viridis"] as const;
export const SCALES = ["linear", "sqrt", "log"] as const;
export const PANELS = ["grid", "heatmap", "lines", "text"] as const;
export const DIRECTIONS = ["from", "to"] as const;
export const THEMES = ["auto", "light", "dark"] as const;
export const AGGREGATES = ["mean", "max"] as const;
export const OVER = ["heads", "layer", "layers"] as const;

export type Colormap = (typeof COLORMAPS)[number];
export type Scale = (typeof SCALES)[number];
export type PanelName = (typeof PANELS)[number];
export type Direction = (typeof DIRECTIONS)[number];
export type Theme = (typeof THEMES)[number];
export type Reduce = (typeof AGGREGATES)[number];
export type Over = (typeof OVER)[number];
export type Dtype = "u8" | "u16";
export type Range = [number, number];
/** (q0, q1, k0, k1): queries [q0, q1) and keys [k0, k1). */
export type WindowTrait = [number, number, number, number];

export interface Tokens {
  piece: string[];
  text: string[];
  gap: string[];
  special: number[];
  segment: number[];
  /** Where the lists hold each different token once: the place of every token of the text in them. */
  index?: number[];
}

export interface Example {
  queries: Tokens;
  keys: Tokens | null;
}

export interface StackMeta {
  name: string;
  layers: number;
  heads: number;
  /** Where only some layers or heads were kept: their numbers in the model. */
  kept_layers?: number[];
  kept_heads?: number[];
  examples: Example[];
}

export interface Meta {
  version: number;
  model: string;
  stacks: StackMeta[];
}

export interface TileRequest {
  layer: number;
  head: number;
  queries: Range;
  keys: Range;
  height: number;
  width: number;
  reduce: "max" | "mean";
  dtype: Dtype;
  /** Look at no more than this many queries under a cell. */
  rows?: number;
}

/** Instead of a size, cells of 2^level tokens a side from the start of the ranges. */
export interface LevelRequest extends Omit<TileRequest, "height" | "width"> {
  level: number;
}

export interface BlockRequest {
  layer: number;
  head: number;
  queries: Range;
  keys: Range;
}

export interface TileHeader {
  height: number;
  width: number;
  dtype: Dtype;
  /** How many queries under each cell were looked at; null: all of them. */
  rows: number | null;
}

/** A tile inside the `embed` trait: where it comes from and where its codes start. */
export interface EmbeddedTile extends TileRequest {
  stack: string;
  batch: number;
  offset: number;
}

/** Why this page cannot show `meta`, or null if it can. */
export function metaProblem(meta: Partial<Meta> | null): string | null {
  if (meta?.version === undefined) return "The widget got no description of a capture. Run the cell again.";
  if (meta.version !== PROTOCOL_VERSION)
    return (
      `The kernel speaks version ${meta.version} of the protocol, this page version ${PROTOCOL_VERSION}. ` +
      "Restart the kernel and reload the page, so that both come from one attnwidget."
    );
  const full = (s: StackMeta) => s.layers > 0 && s.heads > 0 && s.examples?.length > 0;
  return meta.stacks?.length && meta.stacks.every(full)
    ? null
    : "There is no attention in this capture: no stacks, or one without layers, heads or examples.";
}
