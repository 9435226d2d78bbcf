import { describe, expect, it } from "vitest";
import type { Tile } from "../src/codes";
import type { Marginals } from "../src/datasource";
import { heatGeometry } from "../src/heatgeometry";
import { pixelWords, rangeWords } from "../src/heatwords";
import type { Sight } from "../src/layers";
import { runs } from "../src/panels/rails";
import { stripAt, stripWords } from "../src/panels/strips";
import type { Window } from "../src/window";
import { words } from "./helpers";

const room = { width: 540, height: 540, left: 20, top: 20, right: 20, bottom: 20 };
const tile = (side: number): Tile => ({ height: side, width: side, codes: new Uint8Array(0), max: 255 });

describe("what is seen, in words", () => {
  it("is nothing for a whole head, else first and last token", () => {
    const square = { queries: 32768, keys: 32768 };
    expect(rangeWords({ queries: [0, 32768], keys: [0, 32768] }, square)).toBe("");
    expect(rangeWords({ queries: [1200, 1456], keys: [0, 256] }, square)).toBe(
      "1,200 – 1,455 × 0 – 255 of 32,768",
    );
    expect(rangeWords({ queries: [2.5, 7.5], keys: [10, 20] }, { queries: 9, keys: 2000 })).toBe(
      "2 – 7 of 9 × 10 – 19 of 2,000",
    );
  });

  const shape = { queries: 32768, keys: 32768 };
  const sight = (level: number | null, rows: number | null = null): Sight => ({
    placed: [{ tile: tile(512), queries: [0, 32768], keys: [0, 32768] }],
    level,
    rows,
  });

  it("says how many pairs share a colour", () => {
    const wordsOf = (seen: Sight, visible?: Window) =>
      pixelWords(heatGeometry(shape, room, 1, visible), seen, null);
    expect(wordsOf(sight(null))).toBe("max of up to 66 × 66");
    const near: Window = { queries: [0, 100], keys: [0, 100] };
    expect(wordsOf(sight(null), near)).toBe("max of up to 64 × 64");
    expect(wordsOf(sight(1), near)).toBe("max of up to 2 × 2");
    expect(wordsOf(sight(0), near)).toBe("");
    expect(wordsOf({ placed: [], level: null, rows: null })).toBe("");
  });

  it("says how many queries were looked at where not all were, and that more are to come", () => {
    const g = heatGeometry(shape, { ...room, width: 1100, height: 1100 }, 1);
    expect(pixelWords(g, sight(null, 2), null)).toBe(
      "max of up to 64 × 64 · sampled: 2 of 64 queries looked at",
    );
    expect(pixelWords(g, sight(4, 2), 0.4)).toBe(
      "max of up to 31 × 31 · sampled: 2 of 16 queries looked at, refining",
    );
    expect(pixelWords(g, sight(null, 64), null)).toBe("max of up to 64 × 64");
  });
});

describe("the strips", () => {
  const shape = { queries: 2000, keys: 8 };
  const m: Marginals = {
    queries: [0, 4],
    keys: [0, 8],
    received: Float32Array.of(0.5, 0.25, Number.NaN, 0.00001),
    entropy: Float32Array.of(2, Number.NaN, 0, 1.5),
    rows: 1024,
  };

  it("say number, unit and how many queries were measured", () => {
    expect(stripWords(m, "keys", 1, shape)).toBe(
      "keys 0 – 1: receives 0.500 each on average, measured on 1,024 of 2,000 queries",
    );
    expect(stripWords({ ...m, rows: null, keys: [4, 8] }, "keys", 5, shape)).toBe(
      "receives 0.250 on average, measured on all 2,000 queries",
    );
    expect(stripWords(m, "keys", 4, shape)).toBe("keys 4 – 5: no query that was looked at may see it");
    expect(stripWords(m, "queries", 0, shape)).toBe("entropy 2.00 bits, as wide as 4 equal keys");
    expect(stripWords(m, "queries", 2, shape)).toBe("entropy 0.00 bits, as wide as 1 equal key");
    expect(stripWords(m, "queries", 1, shape)).toBe("no key is allowed here");
    expect(stripWords(m, "queries", 9, shape)).toBe("");
  });

  it("lie under and beside the plot", () => {
    const g = heatGeometry({ queries: 10, keys: 10 }, room, 1);
    expect([g.left + g.width, g.top + g.height]).toEqual([520, 520]);
    expect(stripAt(g, 300, 530)).toBe("keys");
    expect(stripAt(g, 530, 300)).toBe("queries");
    expect([stripAt(g, 300, 300), stripAt(g, 530, 530), stripAt(g, 10, 530)]).toEqual([null, null, null]);
  });
});

describe("the rails", () => {
  it("are runs of one text of a pair, with special tokens between; none for a single text", () => {
    const pair = { ...words(["[CLS]", "a", "b", "[SEP]", "c", "d"]) };
    pair.segment = [0, 0, 0, 0, 1, 1];
    pair.special = [1, 0, 0, 1, 0, 0];
    expect(runs(pair)).toEqual([
      { start: 0, stop: 1, kind: "special" },
      { start: 1, stop: 3, kind: "A" },
      { start: 3, stop: 4, kind: "special" },
      { start: 4, stop: 6, kind: "B" },
    ]);
    expect(runs(words(["a", "b"]))).toEqual([]);
  });
});
