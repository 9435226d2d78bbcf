import { describe, expect, it } from "vitest";
import {
  boxed,
  clampWindow,
  fromTrait,
  isWhole,
  LEAST,
  panned,
  revealing,
  toTrait,
  type Window,
  whole,
  zoomed,
} from "../src/window";
import { numbers } from "./helpers";

const random = numbers(4);
const between = (low: number, high: number) => low + random() * (high - low);
const integer = (low: number, high: number) => Math.floor(between(low, high + 1));

/** A head and a window of it, of any size. */
function any() {
  const shape = { queries: integer(1, 3000), keys: integer(1, 3000) };
  const range = (n: number): [number, number] => {
    const start = between(0, n);
    return [start, between(start, n)];
  };
  return { shape, window: clampWindow({ queries: range(shape.queries), keys: range(shape.keys) }, shape) };
}

const inside = ({ queries, keys }: Window, shape: { queries: number; keys: number }) =>
  queries[0] >= 0 && keys[0] >= 0 && queries[1] <= shape.queries + 1e-9 && keys[1] <= shape.keys + 1e-9;
const length = ([start, stop]: readonly [number, number]) => stop - start;

describe("a window", () => {
  it("never leaves the head, whatever moves it, and never shows less than a few tokens", () => {
    for (let i = 0; i < 2000; i++) {
      const { shape, window } = any();
      const at = [between(-50, shape.queries + 50), between(-50, shape.keys + 50)] as const;
      const moved = [
        zoomed(window, shape, 2 ** between(-4, 4), ...at),
        panned(window, shape, between(-5000, 5000), between(-5000, 5000)),
        revealing(window, shape, integer(0, shape.queries - 1), integer(0, shape.keys - 1)),
        boxed(window, shape, any().window),
      ];
      for (const next of moved) {
        expect(inside(next, shape)).toBe(true);
        expect(length(next.queries)).toBeGreaterThanOrEqual(Math.min(LEAST, shape.queries) - 1e-9);
        expect(length(next.keys)).toBeGreaterThanOrEqual(Math.min(LEAST, shape.keys) - 1e-9);
      }
    }
  });

  it("that is zoomed in keeps the point where it was, and zooming out again gives it back", () => {
    for (let i = 0; i < 1000; i++) {
      const shape = { queries: integer(40, 3000), keys: integer(40, 3000) };
      const window = zoomed(
        whole(shape),
        shape,
        between(0.5, 1),
        between(0, shape.queries),
        between(0, shape.keys),
      );
      const query = between(...window.queries);
      const key = between(...window.keys);
      const near = zoomed(window, shape, between(0.3, 1), query, key);
      const share = (at: number, range: readonly [number, number]) => (at - range[0]) / length(range);
      expect(share(query, near.queries)).toBeCloseTo(share(query, window.queries), 9);
      expect(share(key, near.keys)).toBeCloseTo(share(key, window.keys), 9);
      const back = zoomed(near, shape, length(window.queries) / length(near.queries), query, key);
      expect(back.queries[0]).toBeCloseTo(window.queries[0], 6);
      expect(back.keys[1]).toBeCloseTo(window.keys[1], 6);
    }
  });

  it("comes back from its trait as it is when it holds whole tokens, and moved by less than one otherwise", () => {
    for (let i = 0; i < 1000; i++) {
      const { shape, window } = any();
      const trait = toTrait(window, shape);
      const back = fromTrait(trait, shape);
      expect(toTrait(back, shape)).toEqual(isWhole(back, shape) ? null : trait);
      for (const side of ["queries", "keys"] as const) {
        expect(Math.abs(back[side][0] - window[side][0])).toBeLessThanOrEqual(1);
        expect(Math.abs(back[side][1] - window[side][1])).toBeLessThanOrEqual(1);
      }
    }
    expect(toTrait(whole({ queries: 9, keys: 7 }), { queries: 9, keys: 7 })).toBeNull();
  });

  it("keeps its size however often it is moved by a part of a token", () => {
    const shape = { queries: 500, keys: 500 };
    let window = fromTrait([100, 120, 200, 230], shape);
    for (let i = 0; i < 50; i++)
      window = fromTrait(toTrait(panned(window, shape, between(-1, 1), between(-1, 1)), shape), shape);
    expect([length(window.queries), length(window.keys)]).toEqual([20, 30]);
  });
});

describe("a box", () => {
  const shape = { queries: 1000, keys: 1000 };

  it("is all in sight, in cells of the shape they had", () => {
    for (let i = 0; i < 500; i++) {
      const [q, k, high, wide] = [integer(0, 900), integer(0, 900), integer(4, 99), integer(4, 99)];
      const box: Window = { queries: [q, q + high], keys: [k, k + wide] };
      const next = boxed(whole(shape), shape, box);
      for (const side of ["queries", "keys"] as const) {
        expect(next[side][0]).toBeLessThanOrEqual(box[side][0] + 1e-9);
        expect(next[side][1]).toBeGreaterThanOrEqual(box[side][1] - 1e-9);
      }
      expect(length(next.queries)).toBeCloseTo(length(next.keys), 9);
    }
  });

  it("over all queries zooms in on the keys only", () => {
    const next = boxed(whole(shape), shape, { queries: [10, 990], keys: [300, 400] });
    expect(next).toEqual({ queries: [0, 1000], keys: [300, 400] });
  });
});

describe("revealing a token", () => {
  const shape = { queries: 1000, keys: 1000 };
  const window: Window = { queries: [100, 140], keys: [500, 540] };

  it("moves nothing where it is in sight", () => {
    expect(revealing(window, shape, 100, 539)).toBe(window);
    expect(revealing(window, shape, null, null)).toBe(window);
  });

  it("moves just so far to a neighbour, and puts what is far in the middle", () => {
    expect(revealing(window, shape, 140, null)).toEqual({ queries: [101, 141], keys: [500, 540] });
    expect(revealing(window, shape, 99, 499)).toEqual({ queries: [99, 139], keys: [499, 539] });
    expect(revealing(window, shape, null, 800).keys).toEqual([780.5, 820.5]);
  });
});
