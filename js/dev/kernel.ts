/** A kernel inside the page: answers the messages of the protocol from made-up heads. */
import { encode } from "../src/codes";
import {
  type BlockRequest,
  CODE_MAX_U8,
  CODE_MAX_U16,
  type LevelRequest,
  type Range,
  type TileRequest,
} from "../src/protocol";
import { head } from "./heads";
import { asOne, fullHead, longHead, type MadeHead } from "./longheads";
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
  } & Which &
    Partial<BlockRequest & { height: number; width: number }>;
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

export function fakeKernel(queries: number, keys: number, causal: boolean, slice = SLICE): FakeKernel {
  const heads = new Map<string, MadeHead>();
  const begun = new Map<string, Slices>();
  const one = (layer: number, index: number) => {
    const key = `${layer} ${index}`;
    let found = heads.get(key);
    if (!found) {
      found =
        Math.max(queries, keys) <= FULL
          ? fullHead(head(layer, index, queries, keys, causal), queries, keys)
          : longHead(layer, index, queries, keys, causal);
      heads.set(key, found);
    }
    return found;
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
    const key = JSON.stringify(asked);
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
  const answer = ({ method, params }: Message): { ok: unknown; buffers: DataView[] } => {
    if (method === "refine") return refine(params.tile!);
    if (method === "marginals") return marginals(params);
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
