import { inflateRawSync } from "node:zlib";
import { expect, test } from "vitest";
import { FROM_TEXT, selfInflating, toText } from "../scripts/packing.mjs";

const fromText = new Function(`return ${FROM_TEXT}`)() as (text: string, size: number) => Uint8Array;

const noise = (size: number) => {
  let state = size + 1;
  return Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state >> 16;
  });
};

test("bytes come back from their text, whatever they are and however many", () => {
  for (let size = 0; size < 300; size++)
    for (const bytes of [noise(size), new Uint8Array(size), new Uint8Array(size).fill(255)])
      expect(fromText(toText(bytes), size)).toEqual(bytes);
  const all = Uint8Array.from({ length: 65536 }, (_, i) => (i % 2 ? i >> 8 : i));
  expect(fromText(toText(all), all.length)).toEqual(all);
});

test("the text needs no escape in JSON, and 8 bits take 1.231 characters", () => {
  const text = toText(noise(13000));
  expect(JSON.stringify(text)).toBe(`"${text}"`);
  expect(text).toMatch(/^[ !#-;=-[\]-~]*$/);
  expect(text.length).toBe(16000);
});

test("the module holds the code it was made from", async () => {
  const code = `export default { render: () => ${JSON.stringify("→ 语 ".repeat(200))} };`;
  const module = await selfInflating(code);
  const [, text, size] = /\("(.*)",(\d+)\)/.exec(module)!;
  expect(inflateRawSync(fromText(text!, Number(size))).toString()).toBe(code);
});
