import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { decodeTable, type Tile } from "../src/codes";
import { readEmbed } from "../src/embed";
import { CODE_MAX_U16, PROTOCOL_VERSION } from "../src/protocol";

const entry = {
  stack: "self",
  batch: 0,
  layer: 0,
  head: 0,
  queries: [0, 3],
  keys: [0, 4],
  height: 3,
  width: 4,
  reduce: "max",
  dtype: "sqrt",
  rows: null,
  offset: 0,
};

const packed = (tiles: object[], body: number[]) => {
  const header = new TextEncoder().encode(JSON.stringify({ version: PROTOCOL_VERSION, tiles }));
  const size = new Uint8Array(Uint32Array.of(header.length).buffer);
  return new Uint8Array(deflateSync(Buffer.concat([size, header, Uint8Array.from(body)])));
};

const only = async (tiles: object[], body: number[]): Promise<Tile> =>
  (await readEmbed(packed(tiles, body)))[0]![1];

test("stored roots become codes of the one axis; masked, missing and zero stay themselves", async () => {
  const body = [0, 1, 2, 130, 3, 66, 129, 10, 2, 2, 2, 2];
  const tile = await only([entry], body);
  expect(tile.max).toBe(CODE_MAX_U16);
  expect([...tile.codes.slice(0, 4)]).toEqual([0, 1, 2, CODE_MAX_U16]);
  const table = decodeTable(CODE_MAX_U16);
  for (const [place, code] of body.entries())
    if (code > 2) expect(Math.sqrt(table[tile.codes[place]!]!)).toBeCloseTo((code - 2) / 128, 3);
});

test("of a triangle the cells behind the diagonal are masked, also where there are more keys than queries", async () => {
  const tile = await only([{ ...entry, triangle: true }], [5, 5, 6, 6, 6, 7, 7, 7, 7]);
  const table = decodeTable(CODE_MAX_U16);
  const seen = Array.from(tile.codes, (code) => Math.round(Math.sqrt(table[code]!) * 128) + 2);
  expect(seen).toEqual([5, 5, Number.NaN, Number.NaN, 6, 6, 6, Number.NaN, 7, 7, 7, 7]);
});
