/** Attention made up in the page: softmax rows of a few shapes real heads have. */
import type { Tokens } from "../src/protocol";

const TEXT =
  "The animal did n't cross the street because it was too tired , so the driver of the old red bus waited in the rain and read a book about rivers .".split(
    " ",
  );

export function tokens(n: number, kind: string): Tokens {
  const odd = [
    "<s>",
    "</script>",
    " ",
    "\n",
    "😀",
    "👩‍🔬",
    "مرحبا",
    "שלום",
    "漢字",
    "\u200d",
    "\ufeff",
    "\t",
    `a${"very".repeat(14)}long`,
  ];
  const words = kind === "odd" ? odd : TEXT;
  const text = Array.from({ length: n }, (_, i) => words[i % words.length]!);
  const special = text.map((_, i) => (i === 0 || i === n - 1 ? 1 : 0));
  if (kind !== "odd") {
    text[0] = "[CLS]";
    text[n - 1] = "[SEP]";
  }
  const middle = Math.floor(n / 2);
  return {
    piece: text.map((t) => (t === "\ufffd" ? "ðŁ" : t)),
    text,
    gap: text.map((t, i) => (i === 0 || /^[,.]$|^n't$/.test(t) ? "" : " ")),
    special,
    segment: text.map((_, i) => (kind === "pair" && i > middle ? 1 : 0)),
  };
}

/** A small generator of numbers that are the same on every run. */
function random(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** (queries x keys) weights of one head, row-major; NaN where a causal mask forbids the pair. */
export function head(
  layer: number,
  index: number,
  queries: number,
  keys: number,
  causal: boolean,
): Float32Array {
  const next = random(layer * 131 + index * 7 + 1);
  const kind = (layer * 5 + index * 3) % 6;
  const sharp = 1 + next() * 3;
  const noise = Float32Array.from({ length: keys }, () => next() * 2);
  const out = new Float32Array(queries * keys);
  for (let q = 0; q < queries; q++) {
    let sum = 0;
    const at = (q * keys) / queries;
    for (let k = 0; k < keys; k++) {
      const i = q * keys + k;
      if (causal && k > at) {
        out[i] = Number.NaN;
        continue;
      }
      let score = next() * 1.5 + noise[k]!;
      if (kind === 0) score += k === 0 ? 6 : 0;
      if (kind === 1) score += Math.abs(at - 1 - k) < 0.5 ? 4 * sharp : 0;
      if (kind === 2) score -= Math.abs(at - k) / 2;
      if (kind === 3) score *= sharp;
      if (kind === 4) score += k === keys - 1 ? 5 : Math.abs(at + 1 - k) < 0.5 ? 5 : 0;
      out[i] = Math.exp(score);
      sum += out[i]!;
    }
    for (let k = 0; k < keys; k++) out[q * keys + k]! /= sum;
  }
  return out;
}
