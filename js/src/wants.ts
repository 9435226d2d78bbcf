/** What a view needs, and the one message that asks for it. */
import { asBytes, asNumbers } from "./bytes";
import type { Tile } from "./codes";
import {
  type BlockRequest,
  CODE_MAX_U8,
  CODE_MAX_U16,
  MAX_REPLY_BYTES,
  THUMBNAIL,
  type TileHeader,
  type TileRequest,
} from "./protocol";
import type { HeadRef, HeadShape } from "./source";

export type Want =
  | { kind: "thumbnail" | "detail" | "values"; ref: HeadRef }
  | { kind: "row" | "column"; ref: HeadRef; index: number };

/** What came for a want: a tile, or exact weights, row-major and NaN where masked. */
export type Item = readonly [Want, Tile | Float32Array];

export interface Batch {
  method: "tiles" | "values";
  params: unknown;
  wants: Want[];
  /** Reads the answer; throws where it is not what was asked for. */
  take(ok: Record<string, unknown>, buffers: readonly unknown[]): Item[];
}

/** A message with more pooled heads than this would keep the eye waiting for the first of them. */
const MAX_TILES = 48;
/** And so would one with more weights to look at: of long heads, few travel together. */
const MAX_CELLS = 2 ** 23;
/** A quarter of what the kernel allows: small enough to arrive soon. */
const MAX_BYTES = MAX_REPLY_BYTES / 4;

export function wantKey(want: Want): string {
  const { stack, batch, layer, head } = want.ref;
  return `${want.kind}|${"index" in want ? want.index : ""}|${batch}|${layer}|${head}|${stack}`;
}

function tileRequest(want: Want, { queries, keys }: HeadShape, side: number): TileRequest {
  return {
    layer: want.ref.layer,
    head: want.ref.head,
    queries: [0, queries],
    keys: [0, keys],
    height: Math.min(queries, side),
    width: Math.min(keys, side),
    reduce: "max",
    dtype: want.kind === "thumbnail" ? "u8" : "u16",
  };
}

function blockRequest(want: Want, { queries, keys }: HeadShape): BlockRequest {
  const at: [number, number] = "index" in want ? [want.index, want.index + 1] : [0, 0];
  return {
    layer: want.ref.layer,
    head: want.ref.head,
    queries: want.kind === "row" ? at : [0, queries],
    keys: want.kind === "column" ? at : [0, keys],
  };
}

const isTile = (want: Want) => want.kind === "thumbnail" || want.kind === "detail";

/** The message for the most urgent want and all that can travel with it. */
export function ask(wants: readonly Want[], shape: (ref: HeadRef) => HeadShape, tileSide: number): Batch {
  const first = wants[0]!;
  const tiles = isTile(first);
  const taken: Want[] = [];
  const requests: (TileRequest | BlockRequest)[] = [];
  let bytes = 0;
  let looked = 0;
  for (const want of wants) {
    if (isTile(want) !== tiles || want.ref.stack !== first.ref.stack || want.ref.batch !== first.ref.batch)
      continue;
    const size = shape(want.ref);
    const request = tiles
      ? tileRequest(want, size, want.kind === "thumbnail" ? THUMBNAIL : tileSide)
      : blockRequest(want, size);
    bytes += cells(request) * ("dtype" in request ? (request.dtype === "u8" ? 1 : 2) : 4);
    looked += size.queries * size.keys;
    if (taken.length && (bytes > MAX_BYTES || looked > MAX_CELLS || taken.length >= MAX_TILES)) break;
    taken.push(want);
    requests.push(request);
  }
  const { stack, batch } = first.ref;
  const name = tiles ? "tiles" : "blocks";
  return {
    method: tiles ? "tiles" : "values",
    params: { stack, batch, [name]: requests },
    wants: taken,
    take(ok, buffers) {
      const headers = ok[name];
      const n = taken.length;
      if (!Array.isArray(headers) || headers.length !== n || buffers.length !== n)
        throw new Error(`${n} ${name} were asked for, ${buffers.length} buffers came`);
      return taken.map((want, i) => {
        const request = requests[i]!;
        const bytes = asBytes(buffers[i]);
        return [
          want,
          "dtype" in request ? readTile(headers[i], request, bytes) : floats(bytes, cells(request)),
        ];
      });
    },
  };
}

function cells(request: TileRequest | BlockRequest): number {
  if ("height" in request) return request.height * request.width;
  return (request.queries[1] - request.queries[0]) * (request.keys[1] - request.keys[0]);
}

function floats(bytes: Uint8Array, count: number): Float32Array {
  return asNumbers(bytes, "f32", count) as Float32Array;
}

function readTile(header: TileHeader, asked: TileRequest, bytes: Uint8Array): Tile {
  const { height, width, dtype } = header;
  if (height !== asked.height || width !== asked.width || dtype !== asked.dtype)
    throw new Error(
      `a tile of ${asked.height} x ${asked.width} ${asked.dtype} was asked for, ${height} x ${width} ${dtype} came`,
    );
  const codes = asNumbers(bytes, dtype, height * width) as Uint8Array | Uint16Array;
  return { height, width, codes, max: dtype === "u8" ? CODE_MAX_U8 : CODE_MAX_U16, rows: header.rows };
}
