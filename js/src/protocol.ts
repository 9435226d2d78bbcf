/** The wire between the kernel and the page; attnwidget/widget/README.md is its specification. */
import type { Aggregate } from "./aggregates";

export const PROTOCOL_VERSION = 2;
export const LOG2_MIN = -32;
export const CODE_MASKED = 0;
export const CODE_MISSING = 1;
export const CODE_ZERO = 2;
export const CODE_FIRST = 3;
export const SQRT_FIRST = 2;
export const SQRT_STEPS = 128;
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
export const PANELS = ["grid", "heatmap", "lines", "graph", "text", "detail", "output"] as const;
export const DIRECTIONS = ["from", "to"] as const;
export const THEMES = ["auto", "light", "dark"] as const;
export const COMPONENTS = ["size", "index"] as const;
export const THRESHOLD_KINDS = ["weight", "mass"] as const;
export const SCALES = ["linear", "sqrt", "log", "quantile"] as const;
export const MEASURES = [
  "weight",
  "lift",
  "score",
  "value-weighted",
  "value-weighted-layer",
  "rollout",
  "flow",
  "gradient",
] as const;
export const DIVERGING = ["auto", "vik", "berlin"] as const;
export const ABLATIONS = ["zero", "mean", "uniform"] as const;
export const METRICS = ["loss", "probability", "logits"] as const;
export const AGGREGATES = ["mean", "max"] as const;
export const OVER = ["heads", "layer", "layers"] as const;

export type Colormap = (typeof COLORMAPS)[number];
export type Scale = (typeof SCALES)[number];
export type PanelName = (typeof PANELS)[number];
export type Direction = (typeof DIRECTIONS)[number];
export type Theme = (typeof THEMES)[number];
export type Components = (typeof COMPONENTS)[number];
export type ThresholdKind = (typeof THRESHOLD_KINDS)[number];
/** A measure or "pair", and the least of it. */
export type Filter = [string, number];
export type Measure = (typeof MEASURES)[number];
export type Diverging = (typeof DIVERGING)[number];
export type Ablation = (typeof ABLATIONS)[number];
export type Metric = (typeof METRICS)[number];
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
  /** Where words are shown: the token at which each key begins, and how many tokens there are. */
  key_starts?: number[];
  /** Keys that are left out, as tokens, and how each reads. */
  hidden?: [number, string][];
  /** Of a comparison: the places that the first side alone has, and those of the second. */
  only?: Record<"queries" | "keys", [number[], number[]]>;
}

export interface StackMeta {
  name: string;
  layers: number;
  heads: number;
  /** Where only some layers or heads were kept: their numbers in the model. */
  kept_layers?: number[];
  kept_heads?: number[];
  /** Where query heads share them: key-value heads, per layer. */
  key_heads?: (number | null)[];
  /** Where some layers have one: the most keys in a row that a query may look at, per layer. */
  windows?: (number | null)[];
  measure?: MeasureMeta;
  examples: Example[];
}

/** One number per head that somebody has added in Python: all but the numbers, which are asked for by `id`. */
export interface AddedMap {
  id: number;
  name: string;
  stack: string;
  title: string;
  unit: string;
  /** Coloured on either side of 0. */
  signed: boolean;
  /** What stands before the number of one head and after it, and in the place of one that there is not. */
  label: string;
  over: string;
  lacking: string;
  /** It does not fit the stack as it is shown now, and why. */
  why?: string;
}

/** A text, or a pair of texts; "" where there is none to edit. */
export type LiveText = string | [string, string];

/** How the last run of a live view went. */
export interface Run {
  state: "idle" | "running" | "stopping" | "cancelled" | "failed";
  text: LiveText;
  /** What went wrong. */
  message: string;
  /** What the run took whose text is shown. */
  seconds: number;
}

/** What the numbers of a stack are, where they are no weights. */
export interface MeasureMeta {
  /** What it is, and who defined it. */
  words: string;
  /** What it can and cannot show. */
  caution: string;
  /** No number is larger in size. */
  unit: number;
  signed?: boolean;
  /** It belongs to a layer as a whole. */
  whole?: boolean;
}

export interface Meta {
  version: number;
  /** Which of the captures that this widget has shown; messages say which one they are about. */
  capture?: number;
  model: string;
  /** What heads are measured by: name, title and unit; "" for a share from 0 to 1. */
  measures?: [string, string, string][];
  /** What may be shown of the weights: name, title, caution with its source, and why it cannot, or "". */
  pair_measures?: [Measure, string, string, string][];
  /** The tokens are words. */
  words?: boolean;
  /** Two of the stacks, which are compared: the second less the first. */
  compare?: [string, string];
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

/** How one weight came about: what the page shows of it. The answer has more numbers, for whoever reads them. */
export interface PairHeader {
  /** Numbers in q, and in k. */
  size: number;
  /** q · k; null where it is not finite. */
  dot: number | null;
  /** How many components hold most of the sum of |q × k|, and that in words. */
  few: number;
  share: string;
  /** From the dot product to the weight: words, a number, and words after it. */
  steps: [string, string, string][];
}

/** A tile inside the `embed` trait: where it comes from and where its codes start. */
export interface EmbeddedTile extends Omit<TileRequest, "dtype"> {
  /** "sqrt": a byte a weight, even in its square root. */
  dtype: Dtype | "sqrt";
  /** Only cells on and under the diagonal that ends in the last corner are stored; the others are masked. */
  triangle?: boolean;
  stack: string;
  batch: number;
  measure?: "lift" | "excess";
  /** Many heads as one in the place of the head: of pages that are saved. */
  aggregate?: Aggregate;
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
