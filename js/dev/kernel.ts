/** A kernel inside the page: answers the messages of the protocol from made-up heads. */
import { encode } from "../src/codes";
import { formatSigned } from "../src/format";
import {
  type BlockRequest,
  CODE_MAX_U8,
  CODE_MAX_U16,
  type LevelRequest,
  type Range,
  type TileRequest,
} from "../src/protocol";
import { head as shortHead } from "./heads";
import { asOne, fullHead, longHead, type MadeHead } from "./longheads";
import { measure, NAMES } from "./measures";
import { binsOf, poolRow, strips } from "./pool";

/** Which head, or many as one. */
type Which = Partial<Pick<TileRequest, "layer" | "head">> & {
  aggregate?: "mean" | "max";
  layers?: number[];
  heads?: number[];
};
type AnyTile = (TileRequest | LevelRequest) & Which;

export interface Message {
  id: number;
  method: string;
  params: {
    tiles?: AnyTile[];
    tile?: AnyTile;
    blocks?: (BlockRequest & Which)[];
    measure?: string;
  } & Which &
    Partial<BlockRequest & { query: number; key: number; height: number; width: number }>;
}

export interface Reply {
  content: unknown;
  buffers: DataView[];
}

export interface FakeKernel {
  answer(message: Message): Reply;
}

/** Heads up to this many tokens a side are the shapes of `heads.ts`, longer ones a formula. */
const FULL = 1024;
/** Weights looked at in one slice of a refinement, and queries for a strip. */
const SLICE = 2 ** 24;
const STRIP_ROWS = 256;

interface Slices {
  codes: Float32Array;
  bin: number;
}

export function fakeKernel(
  queries: number,
  keys: number,
  causal: boolean,
  slice = SLICE,
  [layers, heads]: [number, number] = [2, 2],
): FakeKernel {
  const known = new Map<string, MadeHead>();
  let found = 0;
  const begun = new Map<string, Slices>();
  let lift = false;
  /** Lift over uniform as a share of the keys: the weights times the keys that a query may look at, over all. */
  const lifted = (plain: MadeHead): MadeHead => ({
    ...plain,
    row(query, from, to) {
      const allowed = causal ? Math.floor((query * keys) / queries) + 1 : keys;
      return plain.row(query, from, to).map((weight) => (weight * allowed) / keys);
    },
  });
  const one = (layer: number, index: number) => {
    const key = `${layer} ${index} ${lift}`;
    let head = known.get(key);
    if (!head) {
      head =
        Math.max(queries, keys) <= FULL
          ? fullHead(shortHead(layer, index, queries, keys, causal), queries, keys)
          : longHead(layer, index, queries, keys, causal);
      if (lift) head = lifted(head);
      known.set(key, head);
    }
    return head;
  };
  const made = ({ aggregate, layers = [], heads: chosen = [], layer, head: index }: Which): MadeHead =>
    aggregate
      ? asOne(
          layers.flatMap((each) => chosen.map((other) => one(each, other))),
          aggregate,
        )
      : one(layer!, index!);
  const bins = (asked: AnyTile) => {
    const level = "level" in asked ? asked.level : undefined;
    const [height, width] = "height" in asked ? [asked.height, asked.width] : [];
    return [
      binsOf(asked.queries, { level, count: height }),
      binsOf(asked.keys, { level, count: width }),
    ] as const;
  };
  const coded = (weights: Float32Array, dtype: string) => {
    const max = dtype === "u8" ? CODE_MAX_U8 : CODE_MAX_U16;
    const codes = Array.from(weights, (w) => encode(w, max));
    return new DataView((dtype === "u8" ? Uint8Array.from(codes) : Uint16Array.from(codes)).buffer);
  };
  const tile = (asked: AnyTile) => {
    const [down, across] = bins(asked);
    const most = asked.rows ?? Number.POSITIVE_INFINITY;
    const out = new Float32Array(down.count * across.count);
    let sampled = false;
    for (let y = 0; y < down.count; y++) {
      sampled ||= down.start(y + 1) - down.start(y) > most;
      out.set(poolRow(made(asked), down, across, y, most), y * across.count);
    }
    const header = { height: down.count, width: across.count, dtype: asked.dtype };
    return { header: { ...header, rows: sampled ? most : null }, buffer: coded(out, asked.dtype) };
  };
  const refine = (asked: AnyTile) => {
    const [down, across] = bins(asked);
    const key = JSON.stringify([asked, lift]);
    const state = begun.get(key) ?? { codes: new Float32Array(down.count * across.count), bin: 0 };
    begun.set(key, state);
    let looked = 0;
    while (state.bin < down.count && looked < slice) {
      const row = poolRow(made(asked), down, across, state.bin, Number.POSITIVE_INFINITY);
      state.codes.set(row, state.bin * across.count);
      looked += (down.start(state.bin + 1) - down.start(state.bin)) * (asked.keys[1] - asked.keys[0]);
      state.bin++;
    }
    if (state.bin < down.count) return { ok: { done: state.bin / down.count }, buffers: [] };
    const header = { height: down.count, width: across.count, dtype: asked.dtype, rows: null };
    return { ok: { done: 1, tile: header }, buffers: [coded(state.codes, asked.dtype)] };
  };
  const block = (asked: BlockRequest & Which) => {
    const [[a, b], [c, d]] = [asked.queries, asked.keys];
    const head = made(asked);
    const out = new Float32Array((b - a) * (d - c));
    for (let q = a; q < b; q++) out.set(head.row(q, c, d), (q - a) * (d - c));
    return { header: { height: b - a, width: d - c }, buffer: new DataView(out.buffer) };
  };
  const marginals = (asked: Message["params"]) => {
    const size = { height: asked.height!, width: asked.width! };
    const down = binsOf(asked.queries as Range, { count: size.height });
    const across = binsOf(asked.keys as Range, { count: size.width });
    const { received, entropy } = strips(made(asked), down, across, STRIP_ROWS);
    const rows = queries > STRIP_ROWS ? STRIP_ROWS : null;
    return { ok: { ...size, rows }, buffers: [received, entropy].map((strip) => new DataView(strip.buffer)) };
  };
  /** A query and a key that fit the weight: their product is what is left of its logarithm after scale, bias and lse. */
  const detail = ({ layer, head: index, query, key }: Required<Message["params"]>) => {
    const size = 64;
    const weight = one(layer, index).row(query, key, key + 1)[0]!;
    const masked = Number.isNaN(weight);
    const wave = (seed: number) =>
      Float32Array.from({ length: size }, (_, i) => Math.sin(seed + i * i * (1 + seed / 7)) ** 3 * 2);
    const [q, k] = [wave(layer * 31 + index * 7 + query), wave(layer * 17 + index * 5 + key + 100)];
    const [scale, bias] = [size ** -0.5, -0.125 * Math.abs(query - key)];
    const dot = q.reduce((sum, value, i) => sum + value * k[i]!, 0);
    const capped = dot * scale;
    const log_weight = masked ? -9 : Math.log(weight);
    const lse = capped + bias - log_weight;
    const steps = [
      ["score", formatSigned(capped), `= scale ${formatSigned(scale)} × q · k ${formatSigned(dot)}`],
      ["+ bias", formatSigned(bias), ""],
      ["− lse", formatSigned(lse), ""],
      masked
        ? ["weight", "0", "not allowed by the mask"]
        : [`weight = exp(${formatSigned(log_weight)}) =`, formatSigned(weight), ""],
    ];
    const sizes = q.map((value, i) => Math.abs(value * k[i]!)).sort((a, b) => b - a);
    const all = sizes.reduce((a, b) => a + b, 0);
    let few = 0;
    for (let held = 0; held < 0.8 * all; few++) held += sizes[few]!;
    const share = `${few} of ${size} components make 80 % of the sum of |q × k|`;
    return {
      ok: { size, dot, steps, few, share },
      buffers: [new DataView(Float32Array.from([...q, ...k]).buffer)],
    };
  };
  const everyHead = <T>(make: (layer: number, index: number) => T): T[] =>
    Array.from({ length: layers * heads }, (_, i) => make(Math.floor(i / heads), i % heads));
  const pair = ({ query, key }: Message["params"]) => {
    const values = everyHead((layer, index) => one(layer, index).row(query!, key!, key! + 1)[0]!);
    return { ok: { layers, heads }, buffers: [new DataView(Float32Array.from(values).buffer)] };
  };
  /** A table of all heads, in as many slices as there are layers. */
  const patterns = () => {
    if (++found < layers) return { ok: { done: found / layers }, buffers: [] };
    const measured = everyHead((layer, index) => measure(one(layer, index), queries, keys, STRIP_ROWS));
    const table = Float32Array.from(NAMES.flatMap((_, i) => measured.map(({ values }) => values[i]!)));
    const ok = {
      ...{ done: 1, layers, heads, queries, rows: queries > STRIP_ROWS ? STRIP_ROWS : null },
      measures: NAMES,
      labels: measured.map(({ label }) => label),
    };
    return { ok, buffers: [new DataView(table.buffer)] };
  };
  const answer = ({ method, params }: Message): { ok: unknown; buffers: DataView[] } => {
    lift = params.measure === "lift";
    if (method === "refine") return refine(params.tile!);
    if (method === "detail") return detail(params as Required<Message["params"]>);
    if (method === "marginals") return marginals(params);
    if (method === "pair") return pair(params);
    if (method === "patterns") return patterns();
    const name = method === "tiles" ? "tiles" : "blocks";
    const items = name === "tiles" ? (params.tiles ?? []).map(tile) : (params.blocks ?? []).map(block);
    return { ok: { [name]: items.map((i) => i.header) }, buffers: items.map((i) => i.buffer as DataView) };
  };
  return {
    answer(message) {
      const { ok, buffers } = answer(message);
      return { content: { id: message.id, ok }, buffers };
    },
  };
}
