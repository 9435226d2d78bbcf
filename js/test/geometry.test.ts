import { describe, expect, it } from "vitest";
import { cornerOf, gridGeometry, headAt, placeBeside, placeOf, visibleHeads } from "../src/gridgeometry";
import { heatGeometry, indexAt, labelStep, tickStep, tokenAt } from "../src/heatgeometry";
import { moved } from "../src/pointing";

const room = { width: 360, height: 400, left: 60, top: 70, right: 20, bottom: 2 };
const square = (n: number) => ({ queries: n, keys: n });

describe("the heatmap", () => {
  it.each([1, 1.25, 2, 3])("has square cells on whole device pixels at ratio %d", (ratio) => {
    for (const n of [5, 13, 64, 150]) {
      const g = heatGeometry(square(n), room, ratio);
      for (const length of [g.left, g.top, g.cellX])
        expect(Math.abs(length * ratio - Math.round(length * ratio))).toBeLessThan(1e-9);
      expect(g.cellY).toBe(g.cellX);
      expect(g.width).toBeCloseTo(n * g.cellX, 9);
      expect(g.canvasWidth).toBeLessThanOrEqual(room.width + 1);
      expect(g.canvasHeight).toBeLessThanOrEqual(room.height + 1);
    }
  });

  it("keeps its plot in every window", () => {
    const g = heatGeometry(square(512), room, 2);
    const near = heatGeometry(square(512), room, 2, { queries: [10, 26], keys: [100.5, 132.5] });
    expect([near.left, near.top, near.width, near.height]).toEqual([g.left, g.top, g.width, g.height]);
    expect([near.cellX, near.cellY]).toEqual([g.width / 32, g.height / 16]);
  });

  it("fits the longer side of a rectangle", () => {
    const g = heatGeometry({ queries: 25, keys: 100 }, room, 1);
    expect([g.cellX, g.width, g.height]).toEqual([2, 200, 50]);
  });

  it("gives a head that would be a hairline higher cells", () => {
    const g = heatGeometry({ queries: 20, keys: 2000 }, room, 1);
    expect([g.width, g.height, g.cellY]).toEqual([280, 120, 6]);
    const one = heatGeometry({ queries: 1, keys: 2000 }, room, 1);
    expect([one.width, one.height]).toEqual([280, 64]);
    const few = heatGeometry({ queries: 5, keys: 5 }, room, 1);
    expect([few.cellX, few.cellY]).toEqual([56, 56]);
  });

  it("finds every token at the middle of its cell, however small that is, and none outside of the plot", () => {
    for (const [n, start, stop] of [
      [512, 0, 512],
      [512, 100, 131],
      [20, 0, 20],
      [5000, 700, 1900],
    ] as const)
      for (const ratio of [1, 1.25, 2]) {
        const g = heatGeometry(square(n), room, ratio, { queries: [0, n], keys: [start, stop] });
        for (let key = start; key < stop; key++)
          if (tokenAt(g, "keys", g.left + (key + 0.5 - start) * g.cellX) !== key)
            throw new Error(`key ${key} of ${start} to ${stop} is not found at the middle of its cell`);
        expect(tokenAt(g, "keys", g.left - 0.1)).toBeNull();
        expect(tokenAt(g, "keys", g.left + g.width)).toBeNull();
      }
  });

  it("labels all from 14 pixels, every n-th from 6, none below", () => {
    expect([20, 14, 13, 7, 6, 5].map(labelStep)).toEqual([1, 1, 2, 2, 3, 0]);
    expect(tickStep(1, 44)).toBe(50);
    expect(tickStep(4, 44)).toBe(20);
  });

  it("finds the index under a pixel", () => {
    expect([-1, 0, 9.9, 10, 99.9, 100].map((x) => indexAt(x, 100, 10))).toEqual([null, 0, 0, 1, 9, null]);
  });
});

describe("the grid", () => {
  it("keeps the aspect of the head, within reason", () => {
    const g = gridGeometry(6, 12, 2, 400, 400);
    expect(g.width / g.height).toBeCloseTo(2, 0);
    expect(gridGeometry(6, 12, 100, 400, 400).height).toBeGreaterThanOrEqual(6);
  });

  it("finds heads by pixel and shows only what is in sight, nearest first", () => {
    const g = gridGeometry(32, 32, 1, 300, 300);
    expect(g.totalWidth).toBeGreaterThan(300);
    expect(headAt(g, g.left + 3 * g.pitchX + 1, g.top + 1)).toEqual({ layer: 0, head: 3 });
    expect(headAt(g, 2, 2)).toBeNull();
    const seen = visibleHeads(g, 0, 0, 300, 300, { layer: 2, head: 3 });
    expect(seen[0]).toEqual({ layer: 2, head: 3 });
    expect(seen.length).toBeLessThan(32 * 32);
    const corner = visibleHeads(g, g.totalWidth - 300, g.totalHeight - 300, 300, 300, {
      layer: 31,
      head: 31,
    });
    expect(corner[0]).toEqual({ layer: 31, head: 31 });
  });
});

describe("the grid in an order of its own", () => {
  const flow = Array.from({ length: 70 }, (_, i) => ({ layer: (i * 7) % 10, head: i % 7 }));

  it("finds each head where it is drawn, names included, and nothing behind the last", () => {
    for (const room of [255, 430, 1400]) {
      const g = gridGeometry(10, 7, 1, room, 400, { flow });
      expect(g.totalWidth).toBeLessThanOrEqual(room);
      flow.forEach((head, place) => {
        expect(placeOf(g, head)).toBe(place);
        const { x, y } = cornerOf(g, place, { x: 0, y: 5 });
        for (const inside of [-8, 1, g.height - 1]) expect(headAt(g, x + 1, y + 5 + inside)).toEqual(head);
      });
      expect(headAt(g, g.left + 1, g.totalHeight + 20)).toBeNull();
    }
  });

  it("is as large as the room allows, and no smaller than a name", () => {
    const few = gridGeometry(10, 7, 1, 430, 400, { flow: flow.slice(0, 3) });
    const many = gridGeometry(10, 7, 1, 430, 400, { flow });
    expect(few.width).toBe(84);
    expect(many.totalHeight).toBeLessThanOrEqual(400);
    expect(gridGeometry(10, 7, 1, 255, 100, { flow }).width).toBeGreaterThanOrEqual(32);
    expect(gridGeometry(10, 7, 1, 430, 400, { flow: [] }).count).toBe(0);
  });

  it("has every head in sight once", () => {
    const g = gridGeometry(10, 7, 1, 255, 100, { flow });
    const seen = visibleHeads(g, 0, 0, 255, 100, flow[0]!);
    expect(seen[0]).toEqual(flow[0]);
    expect(seen.length).toBeLessThan(70);
    expect(visibleHeads(g, 0, 0, 255, g.totalHeight, { layer: 99, head: 0 })).toHaveLength(70);
  });

  it("is walked to its end by arrows, row after row; a matrix keeps to its rows", () => {
    const g = gridGeometry(10, 7, 1, 430, 400, { flow });
    const walk = (from: number, down: number, right: number) => placeBeside(g, from, down, right);
    expect([
      walk(g.columns - 1, 0, 1),
      walk(0, 0, -1),
      walk(69, 0, 1),
      walk(0, 1, 0),
      walk(-1, 0, 1),
    ]).toEqual([...[g.columns, 0, 69, g.columns, 0]]);
    const matrix = gridGeometry(10, 7, 1, 430, 400);
    expect([
      placeBeside(matrix, 6, 0, 1),
      placeBeside(matrix, 7, 0, -1),
      placeBeside(matrix, 8, -1, 0),
    ]).toEqual([...[6, 7, 1]]);
  });
});

describe("moving by keys", () => {
  it("starts at 0, stops at the ends, and goes by tenths", () => {
    expect([moved(null, 1, 50), moved(49, 1, 50), moved(0, -1, 50), moved(10, 1, 50, true)]).toEqual([
      0, 49, 0, 15,
    ]);
  });
});
