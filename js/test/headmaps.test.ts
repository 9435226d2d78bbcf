/** Maps of one number per head that somebody has added: how the grid orders, colours and tells them. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { ask } from "../src/ask";
import {
  colourRange,
  comparing,
  type HeadNumbers,
  numberWords,
  rangeWords,
  shorter,
  UNKNOWN,
} from "../src/headnumbers";
import { type AddedMap, PROTOCOL_VERSION } from "../src/protocol";
import type { Patterns, Want } from "../src/wants";
import { frame, madeUp, screen, text, view } from "./screen";

const CHANGE: AddedMap = {
  ...{ id: 4, name: "loss", stack: "self", title: "change of loss when ablated (zero)", unit: "" },
  ...{ signed: true, label: "change of loss", over: "", lacking: "not asked for" },
};
const SURVEY: AddedMap = {
  ...{ id: 7, name: "s:induction", stack: "self", title: "induction, mean of 200 texts", unit: "" },
  ...{ signed: false, label: "induction", over: "over 200 texts", lacking: "applies to no text" },
};
const NUMBERS: Record<number, number[]> = {
  4: [0.24, -0.5, Number.NaN, 0, UNKNOWN, 0.125],
  7: [...[0.41, 0.1, 0.2, 0.3, 0.9, Number.NaN], ...[0.08, 0.01, Number.NaN, 0.02, 0.05, Number.NaN]],
};
const PATTERNS: Patterns = {
  ...{
    measures: ["first"],
    table: new Float32Array(6).fill(0.5),
    labels: [..."abcdef"],
    rows: null,
    queries: 6,
  },
};
const ABOUT = {
  first: ["Share on the first token.", "A place to rest."],
  loss: ["Loss."],
  "": ["Only looks."],
};

async function show(traits: object = {}, told: unknown = ABOUT) {
  const drawn = screen();
  const questions: [string, unknown][] = [];
  const source = madeUp({ queries: 6, keys: 6 }, () => 0.5, {
    heads: (want) =>
      want.kind === "map"
        ? Float32Array.from(NUMBERS[want.index]!)
        : want.kind === "patterns"
          ? PATTERNS
          : null,
    ask: async (method, params) => {
      questions.push([method, params]);
      return { ok: { about: told }, buffers: [] };
    },
  });
  const asked: Want[][] = [];
  source.want = (_, ...phases) => asked.push(phases.flat());
  const examples = [{ queries: text(6), keys: null }];
  const stacks = [{ name: "self", layers: 2, heads: 3, examples }];
  const measures = [["first", "on the first token", ""]];
  const shown = await view({ queries: text(6) }, source, {
    meta: { version: PROTOCOL_VERSION, model: "tiny", measures, stacks },
    ...{ layer: 0, head: 0, maps: [CHANGE, SURVEY], ...traits },
  } as never);
  const grid = shown.one('[data-name="grid"]');
  return {
    ...shown,
    grid,
    questions,
    written: () => drawn.texts.get("grid")!,
    said: () => grid.querySelector(".tools [role='status']")!.textContent,
    readout: () => shown.one(".readout").textContent,
    wanted: () => asked.at(-1)!.filter(({ kind }) => kind === "map" || kind === "patterns"),
    async order() {
      const names: string[] = [];
      for (let i = 0; i < 6; i++) {
        const { layer, head } = shown.store.shownHead.value;
        names.push(`${layer}.${head}`);
        const key = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
        grid.querySelector('[role="listbox"]')!.dispatchEvent(key);
        await frame();
      }
      return [...new Set(names)];
    },
  };
}

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("an added map", () => {
  it("stands in the choosers after the measures, in a group of its own, and is asked for when it is used", async () => {
    const { grid, store, wanted } = await show();
    const select = grid.querySelectorAll("select")[2]!;
    const group = select.querySelector("optgroup")!;
    expect([select.lastElementChild, group.label]).toEqual([group, "added maps"]);
    expect([...group.children].map((each) => each.textContent)).toEqual([CHANGE.title, SURVEY.title]);
    expect(wanted()).toEqual([]);
    select.value = "loss";
    select.dispatchEvent(new Event("change"));
    await frame();
    expect([store.colour_by.value, select.value]).toEqual(["loss", "loss"]);
    expect(wanted()).toEqual([
      { kind: "map", ref: { stack: "self", batch: 0, layer: 0, head: 0 }, index: 4 },
    ]);
  });

  it("is sorted by value and not by size, and what there is not comes last in either order", async () => {
    expect(await (await show({ sort: "loss" })).order()).toEqual(["0.0", "1.2", "1.0", "0.1", "0.2", "1.1"]);
    const up = await show({ sort: "loss", ascending: true, layer: 0, head: 1 });
    expect(await up.order()).toEqual(["0.1", "1.0", "1.2", "0.0", "0.2", "1.1"]);
  });

  it("leaves out heads below a number of either sign, and those without one", async () => {
    const { order, said, grid, store } = await show({ filter: ["loss", -0.4], head: 0 });
    expect(await order()).toEqual(["0.0", "1.0", "1.2"]);
    expect(said()).toBe("3 of 6 heads");
    const least = grid.querySelector<HTMLInputElement>('[aria-label="at least"]')!;
    expect([least.value, least.hasAttribute("min")]).toEqual(["-0.4", false]);
    const only = grid.querySelectorAll("select")[1]!;
    const choose = (name: string) => {
      only.value = name;
      only.dispatchEvent(new Event("change"));
      return store.filter.value;
    };
    expect([choose("first"), choose("loss")]).toEqual([
      ["first", 0.1],
      ["loss", 0],
    ]);
  });

  it("that has a sign is printed with it, and coloured as far below 0 as above it", async () => {
    const { written, said, readout, store } = await show({ colour_by: "loss" });
    // Before the names of layers and heads.
    expect(written().slice(0, 4)).toEqual(["+0.24", "−0.5", "0", "+0.13"]);
    expect(said()).toBe("colour −0.5 to +0.5");
    for (const [layer, head, words] of [
      [0, 0, "change of loss +0.240"],
      [0, 1, "change of loss −0.500"],
      [0, 2, "change of loss not asked for"],
      [1, 1, "change of loss not a number"],
    ] as const) {
      store.hoverHead.value = { layer, head };
      expect(readout()).toContain(words);
    }
  });

  it("of many texts says how far they vary", async () => {
    const { said, readout, store } = await show({ colour_by: "s:induction" });
    expect(said()).toBe("colour 0 – 0.9");
    expect(readout()).toContain("induction 0.410 ± 0.08 over 200 texts");
    store.hoverHead.value = { layer: 0, head: 2 };
    expect(readout()).toContain("induction 0.200 over 200 texts");
    store.hoverHead.value = { layer: 1, head: 2 };
    expect(readout()).toContain("induction applies to no text");
  });

  it("that does not fit is not offered, and it is said why", async () => {
    const { grid, said, store } = await show({
      maps: [{ ...CHANGE, why: "it has 2 layers x 9 heads" }, SURVEY],
    });
    expect(grid.querySelectorAll("option[value=loss]")).toHaveLength(0);
    expect(said()).toBe("“change of loss when ablated (zero)” is left out: it has 2 layers x 9 heads");
    store.maps.value = [{ ...CHANGE, stack: "cross" }];
    await frame();
    expect([grid.querySelectorAll("optgroup").length, said()]).toEqual([0, ""]);
  });
});

describe("what the numbers of the grid are", () => {
  it("is asked for when one is used, and stands in the titles of the choosers", async () => {
    const { grid, questions, store } = await show();
    const title = (nth: number) => grid.querySelectorAll("label")[nth]!.title;
    expect([questions, title(0)]).toEqual([[], "What heads are sorted by"]);
    store.sort.value = "first";
    await frame();
    expect(questions).toEqual([["about", { stack: "self" }]]);
    expect(title(0)).toBe("What heads are sorted by\n\nShare on the first token.\n\nA place to rest.");
    expect(title(2)).toBe("What heads are coloured by");
    store.filter.value = ["first", 0.2];
    await frame();
    expect(questions).toHaveLength(1);
    store.maps.value = [CHANGE];
    await frame();
    expect(questions).toHaveLength(2);
  });

  it("opens as a dialog: of what is used, or of all, and what holds of every measure", async () => {
    const { grid, store, root } = await show({ colour_by: "loss" });
    const dialog = grid.querySelector("dialog")!;
    const terms = () => [...dialog.querySelectorAll("dt")].map((each) => each.textContent);
    grid.querySelector<HTMLElement>(".info")!.click();
    await frame();
    expect(dialog.open).toBe(true);
    expect(terms()).toEqual([CHANGE.title]);
    expect(dialog.querySelector("dd")!.textContent).toBe("Loss.");
    store.colour_by.value = null;
    await frame();
    expect(terms()).toEqual(["on the first token", CHANGE.title, SURVEY.title, "All measures of this text"]);
    expect(dialog.querySelector("dd:last-child")!.textContent).toBe("Only looks.");
    // Keys are the dialog's while it is open.
    dialog.dispatchEvent(new KeyboardEvent("keydown", { key: "s", bubbles: true, composed: true }));
    expect([store.like.value, root.isConnected]).toEqual([null, true]);
  });
});

describe("numbers of heads", () => {
  const of = (values: number[], more: Partial<HeadNumbers> = {}): HeadNumbers => ({
    ...{ label: "x", unit: "", values, lacking: "none", signed: false },
    ...more,
  });

  it("have a range that takes in all that are known", () => {
    expect(colourRange(of([1, 3, UNKNOWN, Number.NaN]))).toEqual([0, 3]);
    expect(colourRange(of([1, -3], { signed: true }))).toEqual([-3, 3]);
    expect(colourRange(of([0, Number.NaN], { signed: true }))).toEqual([-1, 1]);
    expect(colourRange(of([1, 3], { range: [0.2, 0.4] }))).toEqual([0.2, 0.4]);
  });

  it("are written in fewer and fewer digits", () => {
    expect(shorter(of([], { signed: true }), -0.0123)).toEqual(["−0.012", "−0.01", "−1e-2"]);
    expect(shorter(of([]), 0.0123)).toEqual(["0.012", "0.01", "1e-2"]);
    const change = of([], { signed: true, unit: "nats" });
    expect([rangeWords(change, [-2, 2]), rangeWords(of([]), [0.1, 0.5])]).toEqual([
      "−2 to +2 nats",
      "0.1 – 0.5",
    ]);
  });

  it("have their unit behind them, and of a sample the sign that they are one", () => {
    expect(numberWords(of([1.5], { unit: "bits", about: "≈", label: "entropy" }), 0)).toBe(
      "entropy ≈ 1.50 bits",
    );
    expect(numberWords(of([2000], { spread: [12.5], over: "over 2 texts" }), 0)).toBe(
      "x 2000.0 ± 13 over 2 texts",
    );
  });

  it("are in order, those that are not there last", () => {
    const order = (ascending: boolean) =>
      [0, 1, 2, 3].sort(comparing(of([1, Number.NaN, -2, UNKNOWN]), ascending));
    expect([order(true), order(false)]).toEqual([
      [2, 0, 1, 3],
      [0, 2, 1, 3],
    ]);
  });

  it("come with how far they vary, in one buffer", () => {
    const ref = { stack: "self", batch: 0, layer: 0, head: 0 };
    const want: Want = { kind: "map", ref, index: 7 };
    const values: Want = { kind: "values", ref };
    const batch = ask([want, values], () => ({ queries: 2, keys: 2 }));
    expect([batch.method, batch.params, batch.wants]).toEqual([
      "map",
      { stack: "self", batch: 0, map: 7 },
      [want],
    ]);
    expect(ask([values, want], () => ({ queries: 2, keys: 2 })).wants).toEqual([values]);
    const sent = Float32Array.from([1, 2, 3, 4]);
    const taken = batch.take({ layers: 1, heads: 2, tables: 2 }, [new DataView(sent.buffer)]);
    expect(taken).toEqual([[want, sent]]);
  });
});
