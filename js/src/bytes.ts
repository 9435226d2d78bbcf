/** Hosts hand out buffers as DataView (Jupyter, marimo), Uint8Array (Colab) or ArrayBuffer (shinywidgets). */
export function asBytes(buffer: unknown): Uint8Array<ArrayBuffer> {
  if (buffer instanceof ArrayBuffer) return new Uint8Array(buffer);
  if (ArrayBuffer.isView(buffer))
    return new Uint8Array(buffer.buffer as ArrayBuffer, buffer.byteOffset, buffer.byteLength);
  throw new Error(`a binary buffer was expected, got ${buffer === null ? "null" : typeof buffer}`);
}

/** `count` u16 or float32 numbers from `offset` on; copied, because views of a message need not be aligned. */
export function asNumbers(bytes: Uint8Array, kind: "u8" | "u16" | "f32", count: number, offset = 0) {
  const size = kind === "u8" ? 1 : kind === "u16" ? 2 : 4;
  if (bytes.length < offset + count * size)
    throw new Error(`${count} ${kind} numbers were expected from byte ${offset} of ${bytes.length}`);
  const copy = bytes.slice(offset, offset + count * size);
  if (kind === "u8") return copy;
  return kind === "u16" ? new Uint16Array(copy.buffer) : new Float32Array(copy.buffer);
}
