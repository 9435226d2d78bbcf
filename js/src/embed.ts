/** Weights that travel with the widget: one deflate stream of a header and tiles. */
import { asNumbers } from "./bytes";
import type { Tile } from "./codes";
import { CODE_MAX_U8, CODE_MAX_U16, type EmbeddedTile, PROTOCOL_VERSION } from "./protocol";

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
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
    const codes = asNumbers(raw, t.dtype, t.height * t.width, 4 + length + t.offset) as
      | Uint8Array
      | Uint16Array;
    const max = t.dtype === "u8" ? CODE_MAX_U8 : CODE_MAX_U16;
    return [t, { height: t.height, width: t.width, codes, max, rows: t.rows ?? null }];
  });
}
