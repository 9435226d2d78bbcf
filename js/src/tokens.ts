/** Tokens as a person can read them: nothing invisible, nothing swallowed. */
import type { Tokens } from "./protocol";
import type { Words } from "./state";

const NAMED: Record<string, string> = { "\n": "⏎", "\t": "⇥", "\r": "␍" };
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u00a0\u2000-\u200a\u202f\u3000]/u;
/** Whatever may have to be written in another way. Most tokens have none of it, and there may be tens of thousands. */
const ODD = /[\s\p{C}\p{Z}\p{M}]/u;
const PICTURE = /\p{Extended_Pictographic}/u;

/** The byte that a byte-level vocabulary writes as this character, or -1. */
function byteOf(char: string): number {
  const c = char.codePointAt(0)!;
  if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255)) return c;
  const n = c - 256;
  if (n < 0 || n > 67) return -1;
  return n <= 32 ? n : n <= 66 ? 127 + n - 33 : 173;
}

/** `‹F0 9F›` for a piece that is part of a character only, or null if the piece is plain text. */
function bytesOf(piece: string): string | null {
  const fallback = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece);
  if (fallback) return `‹${fallback[1]!.toUpperCase()}›`;
  const bytes = Array.from(piece, byteOf);
  if (!bytes.some((b) => b > 126) || bytes.includes(-1)) return null;
  return `‹${bytes.map((b) => b.toString(16).toUpperCase().padStart(2, "0")).join(" ")}›`;
}

/** Text with every invisible character made visible. */
export function visible(text: string): string {
  if (!ODD.test(text)) return text;
  const chars = Array.from(text);
  const first = chars.findIndex((c) => c !== " ");
  const last = chars.findLastIndex((c) => c !== " ");
  let out = "";
  chars.forEach((c, i) => {
    const between =
      PICTURE.test(chars[i - 1] ?? "") || /[\u{1f3fb}-\u{1f3ff}\ufe0f]/u.test(chars[i - 1] ?? "");
    if (c === " " && (first < 0 || i < first || i > last)) out += "␣";
    else if (NAMED[c]) out += NAMED[c];
    else if (c === "\u200d" && between && PICTURE.test(chars[i + 1] ?? "")) out += c;
    else if (HIDDEN.test(c)) out += `\\u{${c.codePointAt(0)!.toString(16)}}`;
    else if (i === 0 && /\p{M}/u.test(c)) out += `◌${c}`;
    else out += c;
  });
  return out;
}

/** What stands for one token on an axis or in a list. */
export function label(text: string, piece: string): string {
  if (text === "" || text.includes("\ufffd")) return bytesOf(piece) ?? (visible(text || piece) || "(empty)");
  return visible(text);
}

export const countTokens = ({ piece, index }: Tokens): number => (index ?? piece).length;

/** Tokens with one place per token in every list, and their labels: what comes often is labelled once. */
export function wordsOf(tokens: Tokens): Words {
  const { piece, text, gap, special, segment, index } = tokens;
  const labels = text.map((t, i) => label(t, piece[i] ?? ""));
  if (!index) return { tokens, labels };
  const each = <T>(values: readonly T[]): T[] => index.map((place) => values[place]!);
  return {
    tokens: {
      piece: each(piece),
      text: each(text),
      gap: each(gap),
      special: each(special),
      segment: each(segment),
    },
    labels: each(labels),
  };
}

/** The first words of a text, to tell it from others. */
export function preview({ text, index }: Tokens): string {
  const chars = Array.from(
    (index ? index.slice(0, 30).map((place) => text[place]) : text.slice(0, 30)).join(" "),
  );
  return chars.length > 29 ? `${chars.slice(0, 28).join("")}…` : chars.join("");
}

/** A token named in a sentence: `12 "it"`. */
export function named(all: readonly string[], index: number): string {
  return `${index} "${all[index] ?? ""}"`;
}
