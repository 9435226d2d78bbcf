/** Finding tokens: plain text in the running text, across tokens; exact pieces; or a token by its index. */
import type { Found, Match, Pair, Shown, Words } from "./state";

/** The running text in small letters, and where each token and the gap before it start in it. */
interface Haystack {
  text: string;
  gaps: Uint32Array;
  starts: Uint32Array;
}

const haystacks = new WeakMap<Words, Haystack>();

function haystack(words: Words): Haystack {
  let made = haystacks.get(words);
  if (!made) {
    const { gap, text } = words.tokens;
    const n = text.length;
    const [gaps, starts] = [new Uint32Array(n), new Uint32Array(n)];
    let at = 0;
    // Token by token, because small letters can be longer than the capitals they come from.
    const parts = text.map((t, i) => {
      const [before, own] = [gap[i]!.toLowerCase(), t.toLowerCase()];
      gaps[i] = at;
      starts[i] = at + before.length;
      at += before.length + own.length;
      return before + own;
    });
    made = { text: parts.join(""), gaps, starts };
    haystacks.set(words, made);
  }
  return made;
}

function inText(words: Words, wanted: string, side: Match["side"]): Match[] {
  const { text, gaps, starts } = haystack(words);
  const found: Match[] = [];
  let token = 0;
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    while (token + 1 < gaps.length && gaps[token + 1]! <= at) token++;
    const end = at + wanted.length - 1;
    let last = token;
    while (last + 1 < gaps.length && gaps[last + 1]! <= end) last++;
    // What ends between two tokens belongs to the first of them.
    if (last > token && end < starts[last]!) last--;
    const before = found.at(-1);
    if (before?.first !== token || before.last !== last) found.push({ side, first: token, last });
  }
  return found;
}

function named({ tokens, labels }: Words, wanted: string, side: Match["side"]): Match[] {
  const found: Match[] = [];
  const is = (text: string) => text.length === wanted.length && text.toLowerCase() === wanted;
  labels.forEach((label, i) => {
    if (is(tokens.piece[i]!) || is(label)) found.push({ side, first: i, last: i });
  });
  return found;
}

export const JUMP = /^(?:#(\d+)|(\d+):)$/;

/** All matches, in the order of the text. */
export function search({ rows, columns }: Shown, typed: string): Match[] {
  const wanted = typed.toLowerCase();
  if (!wanted.trim()) return [];
  const texts: [Words, Match["side"]][] =
    rows === columns
      ? [[rows, "both"]]
      : [
          [rows, "query"],
          [columns, "key"],
        ];
  return texts.flatMap(([words, side]) => {
    const found = inText(words, wanted, side);
    const known = new Set(found.filter(({ first, last }) => first === last).map(({ first }) => first));
    const more = named(words, wanted, side).filter(({ first }) => !known.has(first));
    return more.length ? [...found, ...more].sort((a, b) => a.first - b.first || a.last - b.last) : found;
  });
}

/** The match at or after a token, else the first. */
export function nearest(matches: readonly Match[], from: number): number {
  const at = matches.findIndex(({ first }) => first >= from);
  return matches.length ? Math.max(0, at) : -1;
}

/** The token a match starts with, as the side that the direction names. */
export function pairOf({ side, first }: Match, direction: "from" | "to"): Pair {
  const query = side === "query" || (side === "both" && direction === "from");
  return query ? { query: first, key: null } : { query: null, key: first };
}

const marks = new WeakMap<readonly Match[], Map<string, Uint8Array>>();

/** Per token of one side: 1 where it is part of a match, 2 where that is the match the search stands at. */
export function marksOf(found: Found, side: "query" | "key" | "both", n: number): (index: number) => number {
  const { matches, at } = found;
  const bySide = marks.get(matches) ?? new Map<string, Uint8Array>();
  marks.set(matches, bySide);
  let made = bySide.get(side);
  if (!made) {
    made = new Uint8Array(n);
    for (const match of matches)
      if (match.side === side || match.side === "both" || side === "both")
        made.fill(1, match.first, match.last + 1);
    bySide.set(side, made);
  }
  const now = matches[at];
  const own = now && (now.side === side || now.side === "both" || side === "both") ? now : null;
  return (index) => (own && index >= own.first && index <= own.last ? 2 : (made[index] ?? 0));
}
