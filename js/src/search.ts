/** Finding tokens: plain text in the running text, across tokens; exact pieces; or a token by its index. */
import type { Direction } from "./protocol";
import type { Found, Match, Pair, Shown, Words } from "./state";

/** The running text in small letters, and where each token (the gap before it included) starts in it. */
interface Haystack {
  text: string;
  starts: Uint32Array;
}

const haystacks = new WeakMap<Words, Haystack>();

function haystack(words: Words): Haystack {
  let made = haystacks.get(words);
  if (!made) {
    const { gap, text } = words.tokens;
    const starts = new Uint32Array(text.length);
    let at = 0;
    // Token by token, because small letters can be longer than the capitals they come from.
    const parts = text.map((own, i) => {
      const part = (gap[i]! + own).toLowerCase();
      starts[i] = at;
      at += part.length;
      return part;
    });
    made = { text: parts.join(""), starts };
    haystacks.set(words, made);
  }
  return made;
}

function inText(words: Words, wanted: string, side: Match["side"]): Match[] {
  const { text, starts } = haystack(words);
  const found: Match[] = [];
  let last = 0;
  const upTo = (place: number) => {
    while (starts[last + 1]! <= place) last++;
    return last;
  };
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    const match = { side, first: upTo(at), last: upTo(at + wanted.length - 1) };
    const before = found.at(-1);
    if (before?.first !== match.first || before.last !== match.last) found.push(match);
  }
  return found;
}

function inOne(words: Words, wanted: string, side: Match["side"]): Match[] {
  const found = inText(words, wanted, side);
  const known = new Set(found.map(({ first, last }) => first === last && first));
  const is = (text: string) => text.length === wanted.length && text.toLowerCase() === wanted;
  const { labels, tokens } = words;
  labels.forEach((label, i) => {
    if ((is(tokens.piece[i]!) || is(label)) && !known.has(i)) found.push({ side, first: i, last: i });
  });
  return found.sort((a, b) => a.first - b.first || a.last - b.last);
}

const JUMP = /^(?:#(\d+)|(\d+):)$/;
const STEP: Match["side"][] = ["query", "key"];

/** What is found: a token by its index (of the side that the direction names), or all matches in the order of the text. */
export function search({ rows, columns }: Shown, typed: string, direction: Direction): Found {
  const wanted = typed.trim().toLowerCase();
  const one = rows === columns;
  const texts = one ? [rows] : [rows, columns];
  const hits: Match[] = [];
  const jump = JUMP.exec(wanted);
  const asked = one || direction === "from" ? 0 : 1;
  texts.forEach((words, nth) => {
    const side = one ? "both" : STEP[nth]!;
    if (jump) {
      const first = Number(jump[1] ?? jump[2]);
      if (nth === asked && first < words.labels.length) hits.push({ side, first, last: first });
    } else if (wanted) for (const hit of inOne(words, wanted, side)) hits.push(hit);
  });
  const mark = (words: Words, not: Match["side"]) => {
    const marks = new Uint8Array(words.labels.length);
    for (const { side, first, last } of hits) if (side !== not) marks.fill(1, first, last + 1);
    return marks;
  };
  const query = mark(rows, "key");
  return {
    typed,
    last: jump ? texts[asked]!.labels.length - 1 : null,
    hits,
    at: -1,
    marks: { query, key: one ? query : mark(columns, "query") },
  };
}

/** The match at or after a token, else the first. */
export function nearest(hits: readonly Match[], from: number): number {
  const at = hits.findIndex(({ first }) => first >= from);
  return hits.length ? Math.max(0, at) : -1;
}

/** The token a match starts with, as the side that the direction names. */
export function pairOf({ side, first }: Match, direction: Direction): Pair {
  const query = side === "query" || (side === "both" && direction === "from");
  return query ? { query: first, key: null } : { query: null, key: first };
}
