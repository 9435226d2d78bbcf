import { describe, expect, it } from "vitest";
import { nearest, pairOf, search as searchFor } from "../src/search";
import type { Match, Shown } from "../src/state";
import { wordsOf } from "../src/tokens";
import { random, words } from "./helpers";

const shownOf = (texts: string[], pieces = texts): Shown => {
  const rows = wordsOf({ ...words(texts), piece: pieces });
  return { rows, columns: rows, queries: texts.length, keys: texts.length } as Shown;
};
const search = (shown: Shown, typed: string) => searchFor(shown, typed, "from").hits;
const places = (matches: readonly Match[]) => matches.map(({ first, last }) => [first, last]);

describe("a search", () => {
  it("finds text across tokens and whatever its case", () => {
    const shown = shownOf(["In", "New", "York", "the", "new", "yorkers"]);
    expect(places(search(shown, "New York"))).toEqual([
      [1, 2],
      [4, 5],
    ]);
    expect(places(search(shown, "ORK"))).toEqual([
      [2, 2],
      [5, 5],
    ]);
    expect(search(shown, "newyork")).toEqual([]);
    expect(search(shown, " ")).toEqual([]);
  });

  it("finds exact pieces and labels that the running text does not show", () => {
    const shown = shownOf(["straw", "berry", "\n", ""], ["Ġstraw", "##berry", "Ċ", "<0xF0>"]);
    expect(places(search(shown, "##berry"))).toEqual([[1, 1]]);
    expect(places(search(shown, "Ġstraw"))).toEqual([[0, 0]]);
    expect(places(search(shown, "⏎"))).toEqual([[2, 2]]);
    expect(places(search(shown, "‹F0›"))).toEqual([[3, 3]]);
    expect(search(shown, "##")).toEqual([]);
  });

  it("keeps the tokens right where small letters are longer than capitals", () => {
    const shown = shownOf(["İİİ", "x", "target"]);
    expect(places(search(shown, "target"))).toEqual([[2, 2]]);
  });

  it("finds what a search letter by letter finds", () => {
    const next = random(9);
    const letters = ["a", "b", "ab", "ba", "aab", ""];
    for (let round = 0; round < 300; round++) {
      const texts = Array.from({ length: 12 }, () => letters[Math.floor(next() * letters.length)]!);
      const shown = shownOf(
        texts,
        texts.map(() => "no piece"),
      );
      const wanted = ["ab", "b a", "aa", "a"][round % 4]!;
      const owner: number[] = [];
      const chars: string[] = [];
      texts.forEach((t, i) => {
        for (const c of (i ? " " : "") + t) {
          owner.push(i);
          chars.push(c);
        }
      });
      const expected = new Set<string>();
      for (
        let at = chars.join("").indexOf(wanted);
        at >= 0;
        at = chars.join("").indexOf(wanted, at + wanted.length)
      )
        expected.add(`${owner[at]} ${owner[at + wanted.length - 1]}`);
      expect(search(shown, wanted).map(({ first, last }) => `${first} ${last}`)).toEqual([...expected]);
    }
  });

  it("looks through queries, then keys, where they are two texts", () => {
    const rows = wordsOf(words(["le", "chat"]));
    const columns = wordsOf(words(["the", "chat", "cat"]));
    const found = searchFor({ rows, columns, queries: 2, keys: 3 } as Shown, "chat", "from");
    expect(found.hits).toEqual([
      { side: "query", first: 1, last: 1 },
      { side: "key", first: 1, last: 1 },
    ]);
    expect([[...found.marks.query], [...found.marks.key]]).toEqual([
      [0, 1],
      [0, 1, 0],
    ]);
    const jump = searchFor({ rows, columns, queries: 2, keys: 3 } as Shown, "#2", "to");
    expect([jump.hits, jump.last]).toEqual([[{ side: "key", first: 2, last: 2 }], 2]);
    expect(searchFor({ rows, columns, queries: 2, keys: 3 } as Shown, "2:", "from")).toMatchObject({
      hits: [],
      last: 1,
    });
  });

  it("marks every token of every match", () => {
    const { marks } = searchFor(shownOf(["new", "york", "x", "new", "york"]), "new york", "from");
    expect([...marks.query]).toEqual([1, 1, 0, 1, 1]);
    expect(marks.key).toBe(marks.query);
  });

  it("goes on from where one is, and reads a match as the direction does", () => {
    const both: Match[] = [3, 9].map((i) => ({ side: "both", first: i, last: i + 1 }));
    expect([nearest(both, 0), nearest(both, 4), nearest(both, 10), nearest([], 0)]).toEqual([0, 1, 0, -1]);
    expect(pairOf(both[0]!, "from")).toEqual({ query: 3, key: null });
    expect(pairOf(both[0]!, "to")).toEqual({ query: null, key: 3 });
    expect(pairOf({ side: "key", first: 2, last: 2 }, "from")).toEqual({ query: null, key: 2 });
  });
});
