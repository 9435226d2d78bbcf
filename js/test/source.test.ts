import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { asBytes } from "../src/bytes";
import { Cache } from "../src/cache";
import { encode } from "../src/codes";
import type { HeadRef } from "../src/datasource";
import { readEmbed } from "../src/embed";
import type { BlockRequest, TileRequest } from "../src/protocol";
import { Rpc } from "../src/rpc";
import { TileSource } from "../src/source";
import type { Want } from "../src/wants";
import { turn } from "./helpers";

interface Message {
  id: number;
  method: string;
  params: { stack: string; batch: number; tiles?: TileRequest[]; blocks?: BlockRequest[] };
}

const at = (layer: number, head: number): HeadRef => ({ stack: "self", batch: 0, layer, head });
const thumbnail = (head: number): Want => ({ kind: "thumbnail", ref: at(0, head) });

function setup(queries = 4, keys = 4) {
  const sent: Message[] = [];
  const frames: (() => void)[] = [];
  const rpc = new Rpc({ send: (m) => sent.push(m as Message), detached: () => false });
  const source = new TileSource(rpc, {
    shape: () => ({ queries, keys }),
    schedule: (run) => frames.push(run),
  });
  const frame = () => {
    for (const run of frames.splice(0)) run();
  };
  /** Answers as the kernel would: every code or value is `fill`. */
  const answer = async ({ id, params }: Message, fill = 9) => {
    const tiles = params.tiles?.map(({ height, width, dtype }) => ({ height, width, dtype }));
    const blocks = params.blocks?.map((b) => ({
      height: b.queries[1] - b.queries[0],
      width: b.keys[1] - b.keys[0],
    }));
    const buffers = (tiles ?? blocks)!.map((t) => {
      const n = t.height * t.width;
      if (!("dtype" in t)) return new DataView(new Float32Array(n).fill(fill).buffer);
      return new DataView((t.dtype === "u8" ? new Uint8Array(n) : new Uint16Array(n)).fill(fill).buffer);
    });
    rpc.receive({ id, ok: tiles ? { tiles } : { blocks } }, buffers);
    await turn();
  };
  return { sent, rpc, source, frame, answer };
}

describe("the source", () => {
  it("asks for what had to wait while other questions were under way, once those are answered", async () => {
    const { sent, rpc, source, frame } = setup();
    const asked = Promise.all([source.ask("about", {}), source.ask("about", {})]);
    source.want({}, [thumbnail(0)]);
    frame();
    expect(sent.map(({ method }) => method)).toEqual(["about", "about"]);
    for (const { id } of [...sent]) rpc.receive({ id, ok: {} }, []);
    await asked;
    frame();
    expect(sent.map(({ method }) => method)).toEqual(["about", "about", "tiles"]);
  });

  it("forgets everything when another capture is shown, and takes no answer about the one before", async () => {
    const { sent, source, frame, answer } = setup(4, 4);
    const wants: Want[] = [{ kind: "detail", ref: at(0, 0) }, thumbnail(1)];
    source.want({}, wants);
    frame();
    await answer(sent[0]!, 7);
    expect(source.detail(at(0, 0))!.codes[0]).toBe(7);
    source.want({}, [...wants, { kind: "values", ref: at(0, 0) }]);
    frame();
    const late = sent.at(-1)!;
    source.reset();
    expect([source.detail(at(0, 0)), source.thumbnail(at(0, 1)), source.row(at(0, 0), 0)]).toEqual([
      null,
      null,
      null,
    ]);
    await answer(late, 0.5);
    expect(source.row(at(0, 0), 0)).toBeNull();
    const before = sent.length;
    frame();
    expect(sent.slice(before).map((m) => m.method)).toEqual(["tiles", "values"]);
    for (const message of sent.slice(before)) await answer(message, 0.25);
    expect(source.row(at(0, 0), 0)).toEqual({ values: new Float32Array(4).fill(0.25), exact: true });
  });

  it("drops what travelled with a capture that was replaced while it was being read", async () => {
    const { source } = setup(2, 2);
    const tile = {
      ...{ stack: "self", batch: 0, layer: 0, head: 0, height: 2, width: 2, reduce: "max", rows: null },
    };
    const header = Buffer.from(
      JSON.stringify({
        version: 2,
        tiles: [{ ...tile, queries: [0, 2], keys: [0, 2], dtype: "u16", offset: 0 }],
      }),
    );
    const length = Buffer.alloc(4);
    length.writeUInt32LE(header.length);
    const bytes = asBytes(deflateSync(Buffer.concat([length, header, Buffer.alloc(8, 9)])));
    const reading = source.embed(bytes);
    source.reset();
    await reading;
    expect(source.detail(at(0, 0))).toBeNull();
    await source.embed(bytes);
    expect(source.detail(at(0, 0))!.height).toBe(2);
  });

  it("asks again, without a word, what came too late for the capture it was about", async () => {
    const { sent, rpc, source, frame } = setup();
    source.want({}, [thumbnail(0)]);
    frame();
    rpc.receive({ id: sent[0]!.id, error: { code: "superseded", message: "ask anew" } }, []);
    await turn();
    frame();
    expect([sent.length, source.problem.value]).toEqual([2, null]);
  });

  it("asks once per frame and method, most urgent first", () => {
    const { sent, source, frame } = setup(100, 60);
    source.want({}, [{ kind: "detail", ref: at(1, 2) }, thumbnail(0), { kind: "values", ref: at(1, 2) }]);
    expect(sent).toEqual([]);
    frame();
    expect(sent.map((m) => m.method)).toEqual(["tiles", "values"]);
    const whole = { queries: [0, 100], keys: [0, 60] };
    expect(sent[0]!.params).toEqual({
      stack: "self",
      batch: 0,
      tiles: [
        { layer: 1, head: 2, ...whole, height: 100, width: 60, reduce: "max", dtype: "u16" },
        { layer: 0, head: 0, ...whole, height: 48, width: 48, reduce: "max", dtype: "u8" },
      ],
    });
    expect(sent[1]!.params.blocks).toEqual([{ layer: 1, head: 2, ...whole }]);
  });

  it("asks for long heads a few at a time", () => {
    const { sent, source, frame } = setup(2048, 2048);
    source.want({}, [thumbnail(0), thumbnail(1), thumbnail(2), thumbnail(3)]);
    frame();
    expect(sent.map((m) => (m.params.tiles as unknown[]).length)).toEqual([2, 2]);
  });

  it("never has more than two messages under way, and forgets what was superseded", async () => {
    const { sent, source, frame, answer } = setup();
    const owner = {};
    source.want(
      owner,
      Array.from({ length: 200 }, (_, i) => thumbnail(i)),
    );
    frame();
    expect(sent.length).toBe(2);
    source.want(owner, [{ kind: "detail", ref: at(7, 7) }]);
    frame();
    expect(sent.length).toBe(2);
    await answer(sent[0]!);
    frame();
    expect(sent.length).toBe(3);
    expect(sent[2]!.params.tiles).toEqual([expect.objectContaining({ layer: 7, head: 7, dtype: "u16" })]);
  });

  it("asks for nothing twice", async () => {
    const { sent, source, frame, answer } = setup();
    source.want({}, [thumbnail(0)]);
    source.want({}, [thumbnail(0)]);
    frame();
    source.want({}, [thumbnail(0)]);
    frame();
    expect(sent.length).toBe(1);
    await answer(sent[0]!);
    source.want({}, [thumbnail(0)]);
    frame();
    expect(sent.length).toBe(1);
  });

  it("reads rows and cells from codes first, then exactly", async () => {
    const { sent, source, frame, answer } = setup();
    expect(source.row(at(0, 0), 1)).toBeNull();
    source.want({}, [
      { kind: "detail", ref: at(0, 0) },
      { kind: "values", ref: at(0, 0) },
    ]);
    frame();
    await answer(sent[0]!, encode(0.25, 65535));
    expect(source.row(at(0, 0), 1)).toMatchObject({ exact: false });
    expect(source.cell(at(0, 0), 1, 2)).toEqual({ value: expect.closeTo(0.25, 4), exact: false, cells: 1 });
    await answer(sent[1]!, 0.25);
    expect(source.row(at(0, 0), 1)).toEqual({ values: new Float32Array(4).fill(0.25), exact: true });
    expect(source.column(at(0, 0), 1)).toEqual({ values: new Float32Array(4).fill(0.25), exact: true });
    expect(source.cell(at(0, 0), 1, 2)).toEqual({ value: 0.25, exact: true, cells: 1 });
  });

  it("shows a failed request and does not repeat it until told to", async () => {
    const { sent, rpc, source, frame } = setup();
    source.want({}, [thumbnail(0)]);
    frame();
    rpc.receive({ id: 1, error: { code: "failed", message: "CUDA out of memory" } }, []);
    await turn();
    expect(source.problem.value).toBe("The kernel could not answer (failed): CUDA out of memory");
    frame();
    expect(sent.length).toBe(1);
    source.retry();
    frame();
    expect([sent.length, source.problem.value]).toEqual([2, null]);
  });

  it.each([
    [{ tiles: [] }, [], "1 tiles were asked for, 0 buffers came"],
    [
      { tiles: [{ height: 4, width: 4, dtype: "u8" }] },
      [new DataView(new ArrayBuffer(3))],
      "16 u8 numbers were expected from byte 0 of 3",
    ],
    [
      { tiles: [{ height: 9, width: 4, dtype: "u8" }] },
      [new DataView(new ArrayBuffer(36))],
      "a tile of 4 x 4 u8 was asked for, 9 x 4 u8 came",
    ],
    [{ tiles: [{ height: 4, width: 4, dtype: "u8" }] }, ["text"], "a binary buffer was expected, got string"],
  ])("shows a malformed answer %#", async (ok, buffers, text) => {
    const { rpc, source, frame } = setup();
    source.want({}, [thumbnail(0)]);
    frame();
    rpc.receive({ id: 1, ok }, buffers);
    await turn();
    expect(source.problem.value).toBe(`The kernel's answer cannot be read: ${text}`);
  });
});

function stream(
  tiles: { meta: Partial<TileRequest>; codes: Uint8Array }[],
  version = 2,
): Uint8Array<ArrayBuffer> {
  let offset = 0;
  const header = {
    version,
    tiles: tiles.map(({ meta, codes }) => {
      const entry = { stack: "self", batch: 0, reduce: "max", ...meta, offset };
      offset += codes.length;
      return entry;
    }),
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(new Uint32Array([text.length]).buffer);
  return new Uint8Array(deflateSync(Buffer.concat([length, text, ...tiles.map((t) => t.codes)])));
}

const small = {
  layer: 0,
  head: 1,
  queries: [0, 4],
  keys: [0, 4],
  height: 4,
  width: 4,
} as Partial<TileRequest>;

describe("embedded weights", () => {
  it("are read, at odd offsets too", async () => {
    const thumb = {
      meta: { ...small, dtype: "u8" as const, height: 3, width: 3 },
      codes: new Uint8Array(9).fill(77),
    };
    const codes = Uint16Array.from({ length: 16 }, (_, i) => 1000 + i);
    const detail = { meta: { ...small, dtype: "u16" as const }, codes: new Uint8Array(codes.buffer) };
    const [a, b] = (await readEmbed(stream([thumb, detail]))).map(([, tile]) => tile.codes);
    expect(a).toEqual(new Uint8Array(9).fill(77));
    expect(b).toEqual(codes);
  });

  it("are used without a message, and without a kernel", async () => {
    const source = new TileSource(null, { shape: () => ({ queries: 4, keys: 4 }), schedule: () => {} });
    await source.embed(stream([{ meta: { ...small, dtype: "u8" }, codes: new Uint8Array(16).fill(255) }]));
    expect(source.link.value).toBe("static");
    expect(source.thumbnail(at(0, 1))?.codes[0]).toBe(255);
    expect(source.cell(at(0, 1), 3, 3)).toEqual({ value: 1, exact: false, cells: 1 });
    expect(source.thumbnail(at(0, 0))).toBeNull();
  });

  it("hold requests back until they have been read", async () => {
    const { sent, source, frame } = setup();
    const reading = source.embed(
      stream([{ meta: { ...small, dtype: "u8" }, codes: new Uint8Array(16).fill(255) }]),
    );
    source.want({}, [thumbnail(1), thumbnail(2)]);
    frame();
    expect(sent).toEqual([]);
    await reading;
    frame();
    expect(sent[0]!.params.tiles!.map((t) => t.head)).toEqual([2]);
  });

  it("say so when they cannot be read", async () => {
    const source = new TileSource(null, { shape: () => ({ queries: 4, keys: 4 }), schedule: () => {} });
    await source.embed(stream([], 9));
    expect(source.problem.value).toBe(
      "The weights stored with this widget cannot be read: the stored weights have version 9, this page reads version 2",
    );
  });
});

describe("bytes and cache", () => {
  it("take every kind of buffer a host hands out", () => {
    const whole = Uint8Array.from([1, 2, 3, 4]);
    expect([...asBytes(whole.buffer)]).toEqual([1, 2, 3, 4]);
    expect([...asBytes(new DataView(whole.buffer, 1, 2))]).toEqual([2, 3]);
    expect([...asBytes(whole.subarray(2))]).toEqual([3, 4]);
    expect(() => asBytes(null)).toThrow("a binary buffer was expected, got null");
  });

  it("keep what must stay, even over the bound", () => {
    const stays = new Set(["a", "b"]);
    const cache = new Cache<number>(10, (key) => stays.has(key));
    for (const key of ["a", "b", "c", "d"]) cache.set(key, 1, 6);
    expect(["a", "b", "c", "d"].map((key) => cache.has(key))).toEqual([true, true, false, true]);
    expect(cache.bytes).toBe(18);
    stays.clear();
    cache.set("e", 1, 1);
    expect([cache.bytes, cache.has("d"), cache.has("e")]).toEqual([7, true, true]);
  });

  it("drop what was used longest ago", () => {
    const cache = new Cache<number>(10);
    cache.set("a", 1, 4);
    cache.set("b", 2, 4);
    cache.get("a");
    cache.set("c", 3, 4);
    expect([cache.has("a"), cache.has("b"), cache.has("c")]).toEqual([true, false, true]);
    cache.set("huge", 4, 99);
    expect([cache.has("a"), cache.has("c"), cache.has("huge")]).toEqual([false, false, true]);
    cache.set("small", 5, 1);
    expect([cache.has("huge"), cache.has("small")]).toEqual([false, true]);
  });
});

describe("the lift of a head", () => {
  it("is asked for by name, apart from its weights, and kept apart from them", async () => {
    const { sent, source, frame, answer } = setup();
    const lift = { ...at(0, 1), measure: "lift" as const };
    source.want({}, [
      { kind: "values", ref: lift },
      { kind: "values", ref: at(0, 1) },
    ]);
    frame();
    expect(sent.map(({ params }) => (params as { measure?: string }).measure)).toEqual(["lift", undefined]);
    await answer(sent[0]!, 0.5);
    expect(source.cell(lift, 1, 2)).toEqual({ value: 0.5, exact: true, cells: 1 });
    expect(source.cell(at(0, 1), 1, 2)).toBeNull();
    await answer(sent[1]!, 0.25);
    expect(source.cell(at(0, 1), 1, 2)?.value).toBe(0.25);
    expect(source.cell(lift, 1, 2)?.value).toBe(0.5);
  });
});
