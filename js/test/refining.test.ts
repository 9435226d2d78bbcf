import { describe, expect, it } from "vitest";
import { fakeKernel } from "../dev/kernel";
import { longHead } from "../dev/longheads";
import { binsOf, poolRow, strips } from "../dev/pool";
import { encode } from "../src/codes";
import { CODE_MAX_U16, EXACT_CELLS, SAMPLE_ROWS } from "../src/protocol";
import type { TileWant, Want } from "../src/wants";
import { detail, methods, N, other, ref, refine, setup, thumbnail } from "./scripted";

describe("a long head", () => {
  it("is sampled at once, then refined slice by slice to what full pooling gives", async () => {
    expect(N * N).toBeGreaterThan(EXACT_CELLS);
    const { sent, source, frame, deliver, settle } = setup(N, fakeKernel(N, N, true, 2 ** 22));
    source.want({}, [detail], [refine(detail)]);
    frame();
    expect(sent[0]!.params.tiles![0]).toMatchObject({ rows: SAMPLE_ROWS, height: 512 });
    await deliver();
    expect(source.detail(ref)!.rows).toBe(SAMPLE_ROWS);
    expect(source.progress.value).toBe(0);
    const seen: number[] = [];
    const sampled = source.detail(ref)!.codes;
    while (source.progress.value !== null && seen.length < 50) {
      frame();
      expect(source.detail(ref)!.codes).toBe(sampled);
      await deliver();
      if (source.progress.value !== null) seen.push(source.progress.value);
    }
    expect(seen.length).toBeGreaterThan(2);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(new Set(methods(sent).slice(1))).toEqual(new Set(["refine"]));
    expect(sent[1]!.params.tile).not.toHaveProperty("rows");
    const head = longHead(0, 0, N, N, true);
    const bins = binsOf([0, N], { count: 512 });
    const expected = Array.from({ length: 512 }, (_, y) => [...poolRow(head, bins, bins, y, N)]).flat();
    expect(source.detail(ref)!.rows).toBeNull();
    expect([...source.detail(ref)!.codes]).toEqual(expected.map((w) => encode(w, CODE_MAX_U16)));
    const before = sent.length;
    await settle();
    expect(sent.length).toBe(before);
  });

  it("gives its small picture to the grid once its large one is exact, without a message", async () => {
    const { sent, source, settle } = setup();
    source.want({}, [thumbnail, detail], [refine(detail)], [], [refine(thumbnail)]);
    await settle();
    const tile = source.thumbnail(ref)!;
    expect([tile.rows, tile.height, tile.width]).toEqual([null, 48, 48]);
    expect(tile.codes).toEqual(new Uint16Array(48 * 48).fill(65535));
    expect(
      sent.filter((m) => m.method === "refine").map((m) => (m.params.tile as { height: number }).height),
    ).not.toContain(48);
  });

  it("is refined one slice at a time, after all that is in sight and before what may be", async () => {
    const { sent, source, frame, deliver } = setup();
    const near: Want = { kind: "detail", ref: other };
    source.want({}, [detail, { kind: "row", ref, index: 7 }], [refine(detail)], [near]);
    frame();
    expect(methods(sent)).toEqual(["tiles", "values"]);
    await deliver();
    frame();
    frame();
    expect(methods(sent)).toEqual(["tiles", "values", "refine"]);
    while (source.detail(ref)!.rows) {
      await deliver();
      frame();
    }
    expect(sent.filter((m) => m.method === "tiles")).toHaveLength(2);
    expect(methods(sent).at(-1)).toBe("tiles");
  });

  it("is refined no further once it is left, and goes on from there when one comes back", async () => {
    const { sent, source, frame, deliver, settle } = setup();
    const owner = {};
    source.want(owner, [detail], [refine(detail)]);
    frame();
    await deliver();
    frame();
    source.want(owner, [{ kind: "thumbnail", ref: other }]);
    await deliver();
    expect(source.progress.value).toBeNull();
    await settle();
    expect(methods(sent)).toEqual(["tiles", "refine", "tiles"]);
    source.want(owner, [detail], [refine(detail)]);
    expect(source.progress.value).toBe(0.25);
    await settle();
    expect(source.detail(ref)!.rows).toBeNull();
    expect(source.progress.value).toBeNull();
  });

  it("keeps an answer that nobody waits for any more, and asks for nothing because of it", async () => {
    const { sent, source, frame, deliver, settle } = setup();
    const owner = {};
    source.want(owner, [detail]);
    frame();
    source.want(owner);
    await deliver();
    expect(source.detail(ref)).not.toBeNull();
    await settle();
    expect(sent).toHaveLength(1);
  });

  it("asks for tiles by their level, exactly where they are small enough", async () => {
    const { sent, source, settle } = setup(20000);
    const tile = (level: number): TileWant => ({ kind: "tile", ref, level, row: 1, column: 0 });
    source.want({}, [tile(5), tile(0)]);
    await settle();
    const asked = sent.flatMap((m) => m.params.tiles!);
    expect(asked).toEqual([
      { ...place(8192, 16384, 0, 8192), level: 5, rows: SAMPLE_ROWS },
      { ...place(256, 512, 0, 256), level: 0 },
    ]);
    const window = { queries: [300, 400], keys: [0, 100] } as const;
    const [deep] = source.placed(ref, { queries: [...window.queries], keys: [...window.keys] }, 4);
    expect(deep).toMatchObject({
      level: 0,
      queries: [256, 512],
      keys: [0, 256],
      tile: { height: 256, width: 256 },
    });
    const exact = longHead(0, 0, 20000, 20000, true).row(300, 0, 256);
    expect([...deep!.tile.codes.subarray(44 * 256, 45 * 256)]).toEqual(
      Array.from(exact, (w) => encode(w, CODE_MAX_U16)),
    );
  });
});

const place = (q0: number, q1: number, k0: number, k1: number) => ({
  ...{ layer: 0, head: 0, queries: [q0, q1], keys: [k0, k1] },
  ...{ reduce: "max", dtype: "u16" },
});

describe("strips", () => {
  it("are those of the smallest window that holds the one asked for", async () => {
    const { sent, source, settle } = setup(1000);
    const want = (...window: [number, number, number, number]): Want => ({ kind: "marginals", ref, window });
    const look = { queries: [120, 180], keys: [0, 90] } as {
      queries: [number, number];
      keys: [number, number];
    };
    expect(source.marginals(ref, look)).toBeNull();
    const owner = {};
    source.want(owner, [want(0, 1000, 0, 1000)]);
    await settle();
    expect(source.marginals(ref, look)!.received).toHaveLength(512);
    source.want(owner, [want(100, 200, 0, 100)]);
    await settle();
    expect(methods(sent)).toEqual(["marginals", "marginals"]);
    const found = source.marginals(ref, look)!;
    expect(found).toMatchObject({ queries: [100, 200], keys: [0, 100], rows: 256 });
    expect([found.received.length, found.entropy.length]).toEqual([100, 100]);
    expect(source.marginals(ref, { ...look, keys: [0, 101] })!.keys).toEqual([0, 1000]);
    expect(source.marginals(other, look)).toBeNull();
    expect(source.marginals(ref, look)).toBe(found);
  });

  it("of a made-up head average what keys receive and the entropy of queries", () => {
    const head = longHead(2, 1, 300, 300, true);
    const { received, entropy } = strips(head, binsOf([0, 300], {}), binsOf([0, 300], {}), 300);
    const last = head.row(299, 0, 300);
    expect(received[299]).toBeCloseTo(last[299]!, 6);
    expect(entropy[0]).toBeCloseTo(0, 5);
    expect(entropy[299]).toBeCloseTo(-last.reduce((bits, w) => bits + w * Math.log2(w), 0), 4);
  });
});

describe("two views of one widget", () => {
  it("get all that is in sight of both before either is refined", async () => {
    const { sent, source, settle } = setup();
    source.want({}, [detail], [refine(detail)], [], [refine(thumbnail)]);
    source.want({}, [{ kind: "detail", ref: other }]);
    await settle();
    expect(methods(sent).slice(0, 2)).toEqual(["tiles", "tiles"]);
    expect(source.detail(other)!.rows).toBe(SAMPLE_ROWS);
    expect(source.detail(ref)!.rows).toBeNull();
  });
});
