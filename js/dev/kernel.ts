/** A kernel inside the page: answers the messages of the protocol from made-up heads. */
import { encode, paint, type Tile } from "../src/codes";
import { type BlockRequest, CODE_MAX_U8, CODE_MAX_U16, type TileRequest } from "../src/protocol";
import { head } from "./heads";

interface Message {
  id: number;
  method: string;
  params: { tiles?: TileRequest[]; blocks?: BlockRequest[] };
}

export interface FakeKernel {
  answer(message: Message): { content: unknown; buffers: DataView[] };
}

export function fakeKernel(queries: number, keys: number, causal: boolean): FakeKernel {
  const heads = new Map<string, Float32Array>();
  const weights = (layer: number, index: number) => {
    const key = `${layer} ${index}`;
    let found = heads.get(key);
    if (!found) {
      found = head(layer, index, queries, keys, causal);
      heads.set(key, found);
    }
    return found;
  };
  const tile = (asked: TileRequest) => {
    const max = asked.dtype === "u8" ? CODE_MAX_U8 : CODE_MAX_U16;
    const codes = Uint16Array.from(weights(asked.layer, asked.head), (w) => encode(w, max));
    const whole: Tile = { height: queries, width: keys, codes, max };
    const same = Uint32Array.from({ length: max + 1 }, (_, i) => i);
    const out = new Uint32Array(asked.height * asked.width);
    paint(whole, same, asked.width, asked.height, out);
    return new DataView((asked.dtype === "u8" ? Uint8Array.from(out) : Uint16Array.from(out)).buffer);
  };
  const block = (asked: BlockRequest) => {
    const all = weights(asked.layer, asked.head);
    const [[a, b], [c, d]] = [asked.queries, asked.keys];
    const out: number[] = [];
    for (let q = a; q < b; q++) for (let k = c; k < d; k++) out.push(all[q * keys + k]!);
    return new DataView(Float32Array.from(out).buffer);
  };
  return {
    answer({ id, method, params }) {
      if (method === "tiles") {
        const tiles = params.tiles ?? [];
        const headers = tiles.map(({ height, width, dtype }) => ({ height, width, dtype }));
        return { content: { id, ok: { tiles: headers } }, buffers: tiles.map(tile) };
      }
      const blocks = params.blocks ?? [];
      const headers = blocks.map((b) => ({
        height: b.queries[1] - b.queries[0],
        width: b.keys[1] - b.keys[0],
      }));
      return { content: { id, ok: { blocks: headers } }, buffers: blocks.map(block) };
    },
  };
}
