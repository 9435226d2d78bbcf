import { describe, expect, it } from "vitest";
import { Cache } from "../src/cache";
import type { HeadRef, Marginals } from "../src/datasource";
import { Strips } from "../src/strips";
import { type Item, type MarginalsWant, wantKey } from "../src/wants";

const ref: HeadRef = { stack: "self", batch: 0, layer: 0, head: 0 };
const want = (a: number, b: number, head = 0): MarginalsWant => ({
  ...{ kind: "marginals", ref: { ...ref, head } },
  window: [a, b, a, b],
});

function setup(budget: number) {
  const cache = new Cache<Item>(budget);
  const known = new Strips(cache);
  const add = (w: MarginalsWant) => {
    const [a, b] = w.window;
    const empty = new Float32Array(1);
    const item: Marginals = { queries: [a, b], keys: [a, b], received: empty, entropy: empty, rows: null };
    cache.set(wantKey(w), item, 1);
    known.add(w);
  };
  const over = (a: number, b: number, head = 0) =>
    known.over({ ...ref, head }, { queries: [a, b], keys: [a, b] })?.queries ?? null;
  return { add, over };
}

describe("the strips that are here", () => {
  it("are found by the smallest window around, per head, whatever the order they came in", () => {
    const { add, over } = setup(100);
    for (const w of [want(40, 60), want(0, 100), want(20, 70), want(50, 90, 1)]) add(w);
    expect([over(45, 50.5), over(30, 50), over(0, 99), over(-1, 5)]).toEqual([
      [40, 60],
      [20, 70],
      [0, 100],
      null,
    ]);
    expect([over(50, 80, 1), over(50, 80, 2)]).toEqual([[50, 90], null]);
  });

  it("are found as long as the cache has them, and again once they have come again", () => {
    const { add, over } = setup(2);
    for (const w of [want(0, 100), want(10, 20), want(30, 40)]) add(w);
    expect([over(50, 60), over(12, 13)]).toEqual([null, [10, 20]]);
    add(want(0, 100));
    expect(over(50, 60)).toEqual([0, 100]);
    for (let i = 0; i < 50; i++) add(want(i, i + 10, 1));
    add(want(0, 100));
    expect(over(50, 60)).toEqual([0, 100]);
  });
});
