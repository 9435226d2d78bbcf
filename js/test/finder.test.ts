import { afterEach, describe, expect, it, vi } from "vitest";
import { fakeKernel } from "../dev/kernel";
import { MEASURES, NAMES } from "../dev/measures";
import { keyHead } from "../src/keyheads";
import { type Filter, PROTOCOL_VERSION, type StackMeta } from "../src/protocol";
import { signal } from "../src/signals";
import { createStore } from "../src/state";
import type { HeadsWant, Patterns, Want } from "../src/wants";
import { TRAITS, words } from "./helpers";
import { frame, madeUp, screen, text, view } from "./screen";
import { methods, ref, setup, thumbnail } from "./scripted";

const [LAYERS, HEADS] = [2, 3];
/** Two measures of six heads: one is not known of head 4. */
const TABLE: Record<string, number[]> = {
  entropy: [2, 0.5, 1, 3, Number.NaN, 0.25],
  first: [0.1, 0.9, 0.85, 0, 0.3, 0.5],
};
const PATTERNS: Patterns = {
  measures: Object.keys(TABLE),
  table: Float32Array.from(Object.values(TABLE).flat()),
  labels: [..."abcdef"].map((name) => `${name} head, 0.5 on the first token`),
  rows: null,
  queries: 6,
};
const PAIRS = [0.5, 0.25, Number.NaN, 0.75, -1, 0];

interface Options {
  patterns?: Patterns | null;
  stack?: Partial<StackMeta>;
  pairs?: number[] | null;
  link?: "live" | "static";
  /** Of the page. */
  width?: number;
}

async function show(traits: object = {}, options: Options = {}) {
  const { patterns = PATTERNS, stack, link, width } = options;
  const drawn = screen(width);
  const source = madeUp({ queries: 6, keys: 6 }, () => 0.5, {
    heads: (want) => {
      const { pairs = PAIRS } = options;
      return want.kind === "pair" ? pairs && Float32Array.from(pairs) : patterns;
    },
  });
  const asked: Want[][] = [];
  source.want = (_, ...phases) => asked.push(phases.flat());
  source.cell = () => null;
  if (link) Object.assign(source, { link: signal(link) });
  const examples = [{ queries: text(6), keys: null }];
  const stacks = [{ name: "self", layers: LAYERS, heads: HEADS, examples, ...stack }];
  const shown = await view({ queries: text(6) }, source, {
    meta: { version: PROTOCOL_VERSION, model: "tiny", measures: MEASURES, stacks },
    layer: 0,
    head: 0,
    ...traits,
  } as never);
  const grid = shown.one('[data-name="grid"]');
  const list = grid.querySelector<HTMLElement>('[role="listbox"]')!;
  return {
    ...shown,
    written: () => drawn.texts.get("grid")!.filter((each) => /\d\D/.test(each)),
    grid,
    list,
    said: () => grid.querySelector(".tools [role='status']")!.textContent,
    note: () => grid.querySelector(".note")!.textContent,
    readout: () => shown.one(".readout").textContent,
    /** Names of the heads in the order they are gone through by the arrow to the right. */
    async order() {
      shown.store.hoverHead.value = null;
      const names: string[] = [];
      for (let i = 0; i < LAYERS * HEADS; i++) {
        const { layer, head } = shown.store.shownHead.value;
        names.push(`${layer}.${head}`);
        list.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
        await frame();
      }
      return [...new Set(names)];
    },
    last: () => asked.at(-1)!,
    wanted: () => asked.at(-1)!.filter((want): want is HeadsWant => /pair|patterns/.test(want.kind)),
  };
}

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("the grid", () => {
  it("asks for nothing and stays a matrix until it is told to sort, filter or colour", async () => {
    const { wanted, store, said } = await show();
    expect([wanted(), said()]).toEqual([[], ""]);
    store.sort.value = "entropy";
    await frame();
    expect(wanted()).toEqual([{ kind: "patterns", ref }]);
  });

  it("sorts by a measure, the largest first or the smallest; what is not known comes last", async () => {
    const { order, store } = await show({ sort: "entropy", layer: 1, head: 0 });
    expect(await order()).toEqual(["1.0", "0.0", "0.2", "0.1", "1.2", "1.1"]);
    store.ascending.value = true;
    store.layer.value = 1;
    store.head.value = 2;
    await frame();
    expect(await order()).toEqual(["1.2", "0.1", "0.2", "0.0", "1.0", "1.1"]);
  });

  it("leaves heads out, and says how many are shown", async () => {
    const { order, said, store } = await show({ filter: ["first", 0.5] as Filter, layer: 0, head: 1 });
    expect(await order()).toEqual(["0.1", "0.2", "1.2"]);
    expect(said()).toBe("3 of 6 heads");
    store.filter.value = ["first", 2];
    await frame();
    expect(said()).toBe("0 of 6 heads");
  });

  it("shows heads like one first by the distance of their shares, until Esc", async () => {
    const { order, said, store, root } = await show({ sort: "entropy", layer: 0, head: 1 });
    const press = (key: string) => root.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    press("s");
    await frame();
    expect(store.like.value).toEqual([0, 1]);
    expect(said()).toBe("heads like 0.1 first, Esc ends");
    expect(await order()).toEqual(["0.1", "0.2", "1.2", "1.1", "0.0", "1.0"]);
    store.query.value = 2;
    press("Escape");
    expect([store.like.value, store.query.value]).toEqual([null, 2]);
    press("Escape");
    expect(store.query.value).toBeNull();
  });

  it("takes a pair from every head; masked and broken ones come last, and each says what it is", async () => {
    const { order, readout, store } = await show({ sort: "pair", query: 1, key: 0, layer: 1, head: 0 });
    expect(await order()).toEqual(["1.0", "0.0", "0.1", "1.2", "0.2", "1.1"]);
    for (const [layer, head, words] of [
      [0, 1, "locked pair 0.250"],
      [0, 2, "locked pair masked"],
      [1, 1, "locked pair not a number"],
      [1, 2, "locked pair 0"],
    ] as const) {
      store.hoverHead.value = { layer, head };
      expect(readout()).toContain(words);
    }
  });

  it("says what to do where nothing is locked, and follows the lock", async () => {
    const { said, wanted, store } = await show({ colour_by: "pair" });
    expect(said()).toBe("lock a query and a key to see them in every head");
    expect(wanted()).toEqual([]);
    store.query.value = 4;
    store.key.value = 2;
    await frame();
    expect(wanted()).toEqual([{ kind: "pair", ref, query: 4, key: 2 }]);
    expect(said()).toBe("colour 0 – 0.75");
  });

  it("writes a number with fewer digits where two do not fit in its cell", async () => {
    const pairs = [0.5, 0.0123, Number.NaN, 0.00234, -1, 1.2e-7];
    const given = { colour_by: "pair", query: 1, key: 0 };
    const wide = await show(given, { pairs });
    expect(wide.written()).toEqual(["0.5", "0.012", "0.0023", "1e-7"]);
    const narrow = await show(given, { pairs, width: 120 });
    expect(narrow.written()).toEqual(["0.5", "0.01", "2e-3", "1e-7"]);
  });

  it("keeps the order of the pair before until that of the next has come", async () => {
    const options: Options = {};
    const { order, store, said } = await show({ sort: "pair", query: 1, key: 0, layer: 1 }, options);
    const before = ["1.0", "0.0", "0.1", "1.2", "0.2", "1.1"];
    expect(await order()).toEqual(before);
    options.pairs = null;
    store.key.value = 1;
    await frame();
    expect(said()).toBe("measuring heads, 0 %");
    expect(await order()).toEqual(before);
    options.pairs = [0.6, 0.5, 0.4, 0.7, 0.2, 0.1];
    store.key.value = 2;
    await frame();
    expect(await order()).toEqual(["1.0", "0.0", "0.1", "0.2", "1.1", "1.2"]);
  });

  it("says that it waits, or that there is no kernel to wait for", async () => {
    expect((await show({ sort: "first" }, { patterns: null })).said()).toBe("measuring heads, 0 %");
    expect((await show({ sort: "first" }, { patterns: null, link: "static" })).said()).toBe(
      "this needs a running kernel",
    );
  });

  it("names a head under the pointer, for which it asks only then", async () => {
    const { note, store, wanted, list } = await show({}, { stack: { key_heads: [1, 1] } });
    expect([note(), wanted()]).toEqual(["0.0 a head, 0.5 on the first token", []]);
    store.hoverHead.value = { layer: 1, head: 2 };
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(note()).toBe("1.2 f head, 0.5 on the first token");
    expect(wanted()).toEqual([{ kind: "patterns", ref }]);
    expect(list.querySelector('[role="option"]')!.textContent).toBe(
      "layer 1 head 2, f head, 0.5 on the first token, kv head 0",
    );
  });

  it("says that sampled numbers are", async () => {
    const { said, readout } = await show(
      { sort: "first", head: 1 },
      { patterns: { ...PATTERNS, rows: 100, queries: 5000 } },
    );
    expect(said()).toBe("from 100 of 5,000 queries");
    expect(readout()).toContain("on the first token ≈ 0.900");
  });

  it("loads small pictures of what is in sight, and none while heads are colours", async () => {
    const { last, store, root } = await show({ filter: ["first", 0.5] as Filter });
    const small = () =>
      last().flatMap((want) => (want.kind === "thumbnail" ? [`${want.ref.layer}.${want.ref.head}`] : []));
    expect(small().sort()).toEqual(["0.1", "0.2", "1.2"]);
    store.colour_by.value = "first";
    await frame();
    expect(small()).toEqual([]);
    store.colour_by.value = null;
    store.filter.value = ["first", 2];
    await frame();
    expect(small()).toEqual([]);
    expect(root.dataset.ready).toBe("true");
  });
});

describe("the controls of the grid", () => {
  const choose = (grid: HTMLElement, nth: number, value: string) => {
    const select = grid.querySelectorAll("select")[nth]!;
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };

  it("are traits", async () => {
    const { grid, store } = await show();
    choose(grid, 0, "entropy");
    choose(grid, 1, "first");
    choose(grid, 2, "pair");
    expect([store.sort.value, store.filter.value, store.colour_by.value]).toEqual([
      ...["entropy", ["first", 0.1], "pair"],
    ]);
    const least = grid.querySelector<HTMLInputElement>('[aria-label="at least"]')!;
    least.value = "0.5";
    least.dispatchEvent(new Event("change"));
    expect(store.filter.value).toEqual(["first", 0.5]);
    const [turn, , alike] = [...grid.querySelectorAll<HTMLElement>(".tools button")];
    turn!.click();
    alike!.click();
    expect([store.ascending.value, store.like.value]).toEqual([true, [0, 0]]);
    expect(alike!.getAttribute("aria-pressed")).toBe("true");
    choose(grid, 0, "");
    expect([store.sort.value, store.like.value]).toEqual([null, null]);
  });

  it("leave letters to the choosers", async () => {
    const { grid, store } = await show();
    const select = grid.querySelector("select")!;
    select.dispatchEvent(new KeyboardEvent("keydown", { key: "s", bubbles: true, composed: true }));
    expect(store.like.value).toBeNull();
  });
});

describe("query heads", () => {
  const at = (stack: Partial<StackMeta>, layer: number, head: number) => {
    const traits = TRAITS();
    const examples = [{ queries: words(["a"]), keys: null }];
    Object.assign(traits.meta, { stacks: [{ name: "self", layers: 2, heads: 8, examples, ...stack }] });
    return keyHead(createStore(traits), { layer, head });
  };

  it("share a key-value head with their neighbours", () => {
    const shared = Array.from({ length: 8 }, (_, head) => at({ key_heads: [2, 8] }, 0, head)?.index);
    expect(shared).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    expect(at({ key_heads: [2, 8] }, 0, 5)!.heads).toEqual([4, 7]);
    expect(at({ key_heads: [2, 8] }, 1, 5)).toBeNull();
    expect(at({ key_heads: [null, null] }, 0, 5)).toBeNull();
    expect(at({}, 0, 5)).toBeNull();
  });
});

describe("a source", () => {
  const patterns: HeadsWant = { kind: "patterns", ref };
  const pair: HeadsWant = { kind: "pair", ref, query: 3, key: 1 };
  const scripted = () => setup(16, fakeKernel(16, 16, false, undefined, [3, 2]));

  it("asks for the table in slices, and for a pair at once in between", async () => {
    const { source, sent, settle, frame: next, deliver } = scripted();
    source.want({}, [thumbnail], [pair, patterns]);
    next();
    await deliver();
    expect(source.finding.value).toBe(0);
    await settle();
    expect(methods(sent).sort()).toEqual(["pair", "patterns", "patterns", "patterns", "tiles"]);
    expect(source.finding.value).toBeCloseTo(2 / 3);
    const found = source.heads(patterns) as Patterns;
    expect([found.measures, found.labels.length, found.table.length]).toEqual([NAMES, 6, NAMES.length * 6]);
    const rows = fakeKernel(16, 16, false).answer({
      ...{ id: 1, method: "values" },
      params: { blocks: [{ layer: 2, head: 1, queries: [3, 4], keys: [1, 2] }] },
    });
    expect((source.heads(pair) as Float32Array)[5]).toBe(rows.buffers[0]!.getFloat32(0, true));
  });

  it.each([
    [{ done: 2 }, "a part done, from 0 to 1, was expected, got 2"],
    [
      { done: 1, layers: 3, heads: 2, measures: ["max"], labels: [] },
      "a binary buffer was expected, got undefined",
    ],
  ])("says what it cannot read: %#", async (ok, problem) => {
    const { source, state, settle } = scripted();
    state.kernel = ({ id }) => ({ content: { id, ok }, buffers: [] });
    source.want({}, [], [patterns]);
    await settle();
    expect(source.problem.value).toBe(`The kernel's answer cannot be read: ${problem}`);
  });
});
