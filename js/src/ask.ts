/** One message for what is wanted most and all that can travel with it, and how its answer is read. */
import { headsOf } from "./aggregates";
import { asBytes, asNumbers } from "./bytes";
import type { Tile } from "./codes";
import type { HeadRef, HeadShape } from "./datasource";
import {
  type BlockRequest,
  CODE_MAX_U8,
  CODE_MAX_U16,
  MAX_REPLY_BYTES,
  type PairHeader,
  type Range,
  TILE,
  type TileHeader,
} from "./protocol";
import type { Sink } from "./sinks";
import {
  type Extent,
  extentOf,
  type HeadsWant,
  type Item,
  isTile,
  type MarginalsWant,
  type Patterns,
  type TileWant,
  type Want,
} from "./wants";

export interface Batch {
  method: "tiles" | "values" | "marginals" | "refine" | "pair" | "patterns" | "map" | "detail";
  params: unknown;
  wants: readonly Want[];
  /** Reads the answer; throws where it is not what was asked for. Of a refinement that goes on, the fraction done. */
  take(ok: Record<string, unknown>, buffers: readonly unknown[]): readonly (readonly [Want, Item | number])[];
}

/** A message with more pooled heads than this would keep the eye waiting for the first of them. */
const MAX_TILES = 48;
/** And so would one with more weights to look at: of long heads, few travel together. */
const MAX_CELLS = 2 ** 23;
/** A quarter of what the kernel allows: small enough to arrive soon. */
const MAX_BYTES = MAX_REPLY_BYTES / 4;

/** What is asked for as exact weights. */
const BLOCKS: ReadonlySet<string> = new Set(["values", "row", "column"]);

type Shape = (ref: HeadRef) => HeadShape;

export function ask(wants: readonly Want[], shape: Shape): Batch {
  const first = wants[0]!;
  if (first.kind === "refine") return askRefine(first, shape);
  if (first.kind === "marginals") return askMarginals(first);
  if (first.kind === "qk") return askDetail(first);
  if (first.kind === "pair" || first.kind === "patterns" || first.kind === "map") return askHeads(first);
  return askMany(wants, shape);
}

function askMany(wants: readonly Want[], shape: Shape): Batch {
  const first = wants[0]!;
  const tiles = isTile(first);
  const place = JSON.stringify(placeOf(first));
  const taken: Want[] = [];
  const requests: object[] = [];
  const readers: ((header: unknown, bytes: Uint8Array) => Item)[] = [];
  let bytes = 0;
  let looked = 0;
  for (const want of wants) {
    if (JSON.stringify(placeOf(want)) !== place) continue;
    const tile = isTile(want);
    if (tile !== tiles || !(tile || BLOCKS.has(want.kind))) continue;
    const size = shape(want.ref);
    if (tile) {
      const extent = extentOf(want, size);
      bytes += extent.height * extent.width * (want.kind === "thumbnail" ? 1 : 2);
      looked += extent.looked;
      requests.push(tileRequest(want, extent, extent.rows));
      readers.push((header, raw) => readTile(want, extent, header as TileHeader, raw));
    } else {
      const request = blockRequest(want, size);
      const [[a, b], [c, d]] = [request.queries, request.keys];
      bytes += (b - a) * (d - c) * 4;
      looked += (b - a) * (d - c) * headsOf(want.ref);
      requests.push(request);
      readers.push((_, raw) => floats(raw, (b - a) * (d - c)));
    }
    if (taken.length && (bytes > MAX_BYTES || looked > MAX_CELLS || taken.length >= MAX_TILES)) {
      requests.pop();
      break;
    }
    taken.push(want);
  }
  const name = tiles ? "tiles" : "blocks";
  return {
    method: tiles ? "tiles" : "values",
    params: { ...placeOf(first), [name]: requests },
    wants: taken,
    take(ok, buffers) {
      const headers = ok[name];
      const n = taken.length;
      if (!Array.isArray(headers) || headers.length !== n || buffers.length !== n)
        throw new Error(`${n} ${name} were asked for, ${buffers.length} buffers came`);
      return taken.map((want, i) => [want, readers[i]!(headers[i], asBytes(buffers[i]))] as const);
    },
  };
}

function askRefine(want: Want & { kind: "refine" }, shape: Shape): Batch {
  const extent = extentOf(want.of, shape(want.ref));
  return {
    method: "refine",
    params: { ...placeOf(want), tile: tileRequest(want.of, extent) },
    wants: [want],
    take({ done, tile }, buffers) {
      if (part(done) < 1) return [[want, part(done)]];
      const found = readTile(want.of, extent, (tile ?? {}) as TileHeader, asBytes(buffers[0]));
      if (found.rows)
        throw new Error(`an exact tile was asked for, one from ${found.rows} queries a cell came`);
      return [
        [want, 1],
        [want.of, found],
      ];
    },
  };
}

function askMarginals(want: MarginalsWant): Batch {
  const [a, b, c, d] = want.window;
  const [queries, keys] = [
    [a, b],
    [c, d],
  ] as [Range, Range];
  // Every bin of queries costs at least one row, of every head.
  const most = headsOf(want.ref) > 1 ? TILE / 4 : TILE;
  const [height, width] = [Math.min(b - a, most), Math.min(d - c, most)];
  return {
    method: "marginals",
    params: { ...placeOf(want), ...headOf(want), queries, keys, height, width },
    wants: [want],
    take(ok, buffers) {
      if (ok.height !== height || ok.width !== width || buffers.length !== 2)
        throw new Error(
          `strips of ${height} and ${width} bins were asked for, ${ok.height} and ${ok.width} came in ${buffers.length} buffers`,
        );
      const [received, entropy] = [floats(asBytes(buffers[0]), width), floats(asBytes(buffers[1]), height)];
      return [
        [
          want,
          {
            queries,
            keys,
            received,
            entropy,
            rows: (ok.rows as number | undefined) ?? null,
            sinks: ok.sinks as Sink[] | undefined,
          },
        ],
      ];
    },
  };
}

function askDetail(want: Want & { kind: "qk" }): Batch {
  const { query, key } = want;
  const { layer, head } = want.ref;
  return {
    method: "detail",
    params: { ...placeOf(want), layer, head, query, key },
    wants: [want],
    take(ok, buffers) {
      const numbers = ok as unknown as PairHeader;
      const both = floats(asBytes(buffers[0]), 2 * numbers.size);
      return [[want, { ...numbers, q: both.subarray(0, numbers.size), k: both.subarray(numbers.size) }]];
    },
  };
}

function askHeads(want: HeadsWant): Batch {
  const { kind } = want;
  const which =
    kind === "pair" ? { query: want.query, key: want.key } : kind === "map" ? { map: want.index } : {};
  return {
    method: kind,
    params: { ...placeOf(want), ...which },
    wants: [want],
    take(ok, buffers) {
      if (kind === "patterns" && part(ok.done) < 1) return [[want, part(ok.done)]];
      const heads = Number(ok.layers) * Number(ok.heads);
      if (kind === "pair") return [[want, floats(asBytes(buffers[0]), heads)]];
      if (kind === "map") return [[want, floats(asBytes(buffers[0]), heads * Number(ok.tables))]];
      const found = ok as unknown as Patterns;
      return [[want, { ...found, table: floats(asBytes(buffers[0]), found.measures.length * heads) }]];
    },
  };
}

function part(done: unknown): number {
  if (typeof done === "number" && done >= 0 && done <= 1) return done;
  throw new Error(`a part done, from 0 to 1, was expected, got ${JSON.stringify(done)}`);
}

const placeOf = ({ ref: { stack, batch, measure } }: Want) => ({ stack, batch, ...(measure && { measure }) });

const headOf = ({ ref: { layer, head, aggregate: a } }: Want) =>
  a ? { aggregate: a.reduce, layers: a.layers, heads: a.heads } : { layer, head };

function tileRequest(want: TileWant, { queries, keys, height, width }: Extent, rows?: number): object {
  return {
    ...headOf(want),
    queries,
    keys,
    ...(want.kind === "tile" ? { level: want.level } : { height, width }),
    reduce: "max",
    dtype: dtypeOf(want),
    ...(rows && { rows }),
  };
}

function blockRequest(want: Want, { queries, keys }: HeadShape): Pick<BlockRequest, "queries" | "keys"> {
  const at: Range = "index" in want ? [want.index, want.index + 1] : [0, 0];
  return {
    ...headOf(want),
    queries: want.kind === "row" ? at : [0, queries],
    keys: want.kind === "column" ? at : [0, keys],
  };
}

const dtypeOf = (want: TileWant) => (want.kind === "thumbnail" ? "u8" : "u16");

const floats = (bytes: Uint8Array, count: number) => asNumbers(bytes, "f32", count) as Float32Array;

function readTile(want: TileWant, asked: Extent, header: TileHeader, bytes: Uint8Array): Tile {
  const { height, width, dtype, rows } = header;
  const expected = dtypeOf(want);
  if (height !== asked.height || width !== asked.width || dtype !== expected)
    throw new Error(
      `a tile of ${asked.height} x ${asked.width} ${expected} was asked for, ${height} x ${width} ${dtype} came`,
    );
  const codes = asNumbers(bytes, dtype, height * width) as Uint8Array | Uint16Array;
  return { height, width, codes, max: dtype === "u8" ? CODE_MAX_U8 : CODE_MAX_U16, rows: rows ?? null };
}
