// Packs a module into one that inflates itself: deflated, and written in 91 characters that cost one byte each.
import { promisify } from "node:util";
import zopfli from "@gfx/zopfli";
import { minify } from "terser";

/** Two characters hold 13 bits (91 * 91 > 2^13), where base64 holds 12. */
const BASE = 91;
const BITS = 13;

/** Digits are the characters from # on; the two that strings and pages would have to escape have stand-ins. */
const character = (digit) =>
  String.fromCharCode(digit + 35)
    .replace("<", "!")
    .replace("\\", " ");

/** Bytes as text that JSON, a string in double quotes and a page take as it is. */
export function toText(bytes) {
  let text = "";
  let held = 0;
  let bits = 0;
  const put = () => {
    const value = held & (2 ** BITS - 1);
    text += character(value % BASE) + character(Math.floor(value / BASE));
    held >>>= BITS;
    bits -= BITS;
  };
  for (const byte of bytes) {
    held |= byte << bits;
    bits += 8;
    if (bits >= BITS) put();
  }
  if (bits > 0) put();
  return text;
}

/** Source of the function that turns such a text back into so many bytes. */
export const FROM_TEXT = `(text, size) => {
  const bytes = new Uint8Array(size);
  const digit = (i) => [57, 25][text.charCodeAt(i) - 32] ?? text.charCodeAt(i) - 35;
  for (let i = 0, at = 0, held = 0, bits = 0; at < size; i += 2) {
    held |= (digit(i) + ${BASE} * digit(i + 1)) << bits;
    for (bits += ${BITS}; bits > 7; bits -= 8, held >>>= 8) bytes[at++] = held;
  }
  return bytes;
}`;

/** What inflates the module and imports it. */
const STUB = `
const bytes = (${FROM_TEXT})(TEXT, SIZE);
const code = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
const url = URL.createObjectURL(new Blob([await new Response(code).text()], { type: "text/javascript" }));
const { default: widget } = await import(url);
URL.revokeObjectURL(url);
export default widget;
`;

/** A module with the same default export as `code`. */
export async function selfInflating(code) {
  const deflated = await promisify(zopfli.deflate)(Buffer.from(code), { numiterations: 15 });
  const stub = await minify(STUB, { module: true, ecma: 2022 });
  const filled = stub.code.replace("TEXT", () => `"${toText(deflated)}"`).replace("SIZE", deflated.length);
  return `// attnwidget, deflated; the source is in js/src\n${filled}\n`;
}
