import { describe, expect, it } from "vitest";
import { holds, merged, textParts } from "../src/panels/textparts";
import type { Range } from "../src/protocol";
import { random } from "./helpers";

describe("the parts of a text", () => {
  it("are all of a short one, whatever is in sight", () => {
    expect(textParts(600, [[100, 110]], [5], 600)).toEqual([[0, 600]]);
    expect(textParts(1, [[0, 1]], [], 600)).toEqual([[0, 1]]);
  });

  it("are the ranges in sight, one part where they touch, in whole tokens", () => {
    expect(
      textParts(
        5000,
        [
          [100.4, 200.2],
          [150, 260],
        ],
        [],
      ),
    ).toEqual([[100, 260]]);
    expect(
      textParts(
        5000,
        [
          [4000, 4100],
          [10, 60],
        ],
        [],
      ),
    ).toEqual([
      [10, 60],
      [4000, 4100],
    ]);
  });

  it("are around the anchors where the ranges are too long, else at the middle, of a whole text at its start", () => {
    expect(textParts(32768, [[0, 32768]], [])).toEqual([[0, 600]]);
    expect(textParts(32768, [[0, 32768]], [20000])).toEqual([[19700, 20300]]);
    expect(textParts(32768, [[0, 32768]], [20000, 12])).toEqual([
      [0, 300],
      [19850, 20150],
    ]);
    expect(textParts(32768, [[10000, 12000]], [])).toEqual([[10700, 11300]]);
    // Keys far from the focused query are shown too: that is where the shades are.
    expect(
      textParts(
        32768,
        [
          [20000, 22000],
          [0, 1000],
        ],
        [20010],
      ),
    ).toEqual([
      [350, 650],
      [20000, 20300],
    ]);
  });

  it("never are more than there is room for, stay inside the ranges and hold every anchor in them", () => {
    const next = random(3);
    const upTo = (n: number) => Math.floor(next() * n);
    for (let round = 0; round < 500; round++) {
      const n = 601 + upTo(40000);
      const range = (): Range => {
        const a = upTo(n - 1);
        return [a, a + 1 + upTo(n - a - 1)];
      };
      const ranges = [range(), range()].slice(0, 1 + upTo(2));
      const anchors = [upTo(n), upTo(n)].slice(0, upTo(3));
      const parts = textParts(n, ranges, anchors);
      expect(parts.reduce((sum, [a, b]) => sum + b - a, 0)).toBeLessThanOrEqual(600);
      const all = merged(ranges, n);
      let end = -1;
      for (const [a, b] of parts) {
        expect(a).toBeGreaterThan(end);
        expect(all.some(([c, d]) => a >= c && b <= d)).toBe(true);
        end = b;
      }
      for (const i of anchors) if (holds(all, i)) expect(holds(parts, i)).toBe(true);
    }
  });
});
