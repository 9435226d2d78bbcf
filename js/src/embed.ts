/** Weights that travel with the widget: one deflate stream of a header and tiles. */
import { asNumbers } from "./bytes";
import { encode, type Tile } from "./codes";
import {
  CODE_MASKED,
  CODE_MAX_U8,
  CODE_MAX_U16,
  type EmbeddedTile,
  PROTOCOL_VERSION,
  SQRT_FIRST,
  SQRT_STEPS,
} from "./protocol";

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Stored codes, even in the square root of the weight, as codes of the axis that everything else reads. */
function fromRoots(stored: Uint8Array, { height, width, triangle }: EmbeddedTile): Uint16Array {
  const table = Uint16Array.from({ length: SQRT_FIRST + SQRT_STEPS + 1 }, (_, code) =>
    code < SQRT_FIRST ? code : encode(((code - SQRT_FIRST) / SQRT_STEPS) ** 2, CODE_MAX_U16),
  );
  const codes = new Uint16Array(height * width).fill(CODE_MASKED);
  for (let row = 0, from = 0; row < height; row++) {
    const cells = triangle ? Math.max(0, row + 1 + width - height) : width;
    for (let column = 0; column < cells; column++) codes[row * width + column] = table[stored[from++]!]!;
  }
  return codes;
}

/** Every tile of the `embed` trait with what it shows. */
export async function readEmbed(bytes: Uint8Array<ArrayBuffer>): Promise<[EmbeddedTile, Tile][]> {
  if (bytes.length === 0) return [];
  const raw = await inflate(bytes);
  const length = new DataView(raw.buffer, raw.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + length))) as {
    version: number;
    tiles: EmbeddedTile[];
  };
  if (header.version !== PROTOCOL_VERSION)
    throw new Error(
      `the stored weights have version ${header.version}, this page reads version ${PROTOCOL_VERSION}`,
    );
  return header.tiles.map((t) => {
    const start = 4 + length + t.offset;
    const codes =
      t.dtype === "sqrt"
        ? fromRoots(raw.subarray(start), t)
        : (asNumbers(raw, t.dtype, t.height * t.width, start) as Uint8Array | Uint16Array);
    const max = t.dtype === "u8" ? CODE_MAX_U8 : CODE_MAX_U16;
    return [t, { height: t.height, width: t.width, codes, max, rows: t.rows ?? null }];
  });
}
