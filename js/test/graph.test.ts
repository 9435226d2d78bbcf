import { afterEach, describe, expect, it, vi } from "vitest";
import { encode } from "../src/codes";
import { arcOf } from "../src/panels/arcs";
import { tokenRow } from "../src/panels/graphrow";
import type { Placed } from "../src/source";
import { words } from "./helpers";
import { frame, madeUp, screen, text, view } from "./screen";

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** One query per line. Half of query 3's mass is on key 0. */
const WEIGHTS = [
  [1, 0, 0, 0],
  [0.25, 0.75, 0, 0],
  [0.25, 0.25, 0, 0.5],
  [0.5, 0.125, 0.25, 0.125],
];
const at = (q: number, k: number) => WEIGHTS[q]![k]!;

/** A picture with a cell for every pair. */
function picture(queries: number, keys: number, weight: (q: number, k: number) => number): Placed[] {
  const codes = Uint16Array.from({ length: queries * keys }, (_, i) =>
    encode(weight(Math.floor(i / keys), i % keys), 65535),
  );
  return [
    { tile: { height: queries, width: keys, max: 65535, codes }, queries: [0, queries], keys: [0, keys] },
  ];
}

async function small(traits = {}) {
  const drawn = screen();
  const made = madeUp({ queries: 4, keys: 4 }, at, { placed: picture(4, 4, at) });
  const shown = await view({ queries: words(["a", "bb", "ccc", "d"]) }, made, {
    panels: ["graph"],
    threshold: 0.2,
    ...traits,
  });
  const note = () => shown.one(".note").textContent!;
  const arcs = () => drawn.paths.get("graph")!;
  return { ...shown, drawn, note, arcs };
}

/** The middles of the four tokens, as wide as their words, at least 12, with 12 around and 110 to spare each. */
const MIDDLES = [67, 201, 338, 475];
const nearest = (x: number) => MIDDLES.findIndex((middle) => Math.abs(middle - x) <= 3.5);
/** What an arc says: from which token to which, over or under the line. */
const said = ([x0, y0, , ay, , , x1]: number[]) => [nearest(x0!), nearest(x1!), ay! < y0! ? "over" : "under"];

function point(element: HTMLElement, type: string, x: number, y: number): void {
  const event = new MouseEvent(type, { bubbles: true });
  for (const [name, value] of Object.entries({ offsetX: x, offsetY: y }))
    Object.defineProperty(event, name, { value });
  element.dispatchEvent(event);
}
const press = (target: Element, key: string) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));

describe("the graph", () => {
  it("has an arc for every pair that passes, back over the line, ahead under it, the strongest last", async () => {
    const { arcs, note } = await small();
    expect(arcs().map(said)).toEqual([
      [1, 0, "over"],
      [2, 0, "over"],
      [2, 1, "over"],
      [3, 2, "over"],
      [2, 3, "under"],
      [3, 0, "over"],
      [1, 1, "over"],
      [0, 0, "over"],
    ]);
    expect(note()).toBe("8 arcs ≥ 0.2, thickness by the legend's scale");
  });

  it("keeps only the arcs of a token that is pointed at, locks it with a click, and releases it with another", async () => {
    const { arcs, note, one, store } = await small();
    const area = one(".scroll");
    point(area, "pointermove", MIDDLES[3]!, 165);
    await frame();
    expect(store.focus.value).toEqual({ query: 3, key: null });
    expect(arcs().map(said)).toEqual([
      [3, 2, "over"],
      [3, 0, "over"],
    ]);
    expect(note()).toContain("arcs of query 3 ≥ 0.2");
    point(area, "click", MIDDLES[3]!, 165);
    expect(store.locked.value).toEqual({ query: 3, key: null });
    point(area, "click", MIDDLES[3]!, 165);
    expect(store.locked.value).toEqual({ query: null, key: null });
    point(area, "pointermove", MIDDLES[3]!, 20);
    point(area, "click", MIDDLES[3]!, 20);
    expect(store.locked.value).toEqual({ query: null, key: null });
  });

  it("reads a token as a key where the direction says so, which a button and the key r turn round", async () => {
    const { arcs, note, one, root, store } = await small({ key: 0, direction: "to" });
    expect(arcs().map(said)).toEqual([
      [2, 0, "over"],
      [1, 0, "over"],
      [3, 0, "over"],
      [0, 0, "over"],
    ]);
    expect(note()).toContain("arcs of key 0 ≥ 0.2");
    const button = one(".direction");
    expect(button.textContent).toBe("⇄ what looks at it");
    button.click();
    expect([store.direction.value, button.textContent]).toEqual(["from", "⇄ what it looks at"]);
    press(root, "r");
    expect(store.direction.value).toBe("to");
    press(one('[type="search"]'), "r");
    press(one('[type="number"]'), "r");
    press(one(".tools select"), "r");
    expect(store.direction.value).toBe("to");
  });

  it("is walked by the arrows, and locks with Enter", async () => {
    const { one, store } = await small();
    const area = one(".scroll");
    for (const key of ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"]) press(area, key);
    expect(store.locked.value).toEqual({ query: 1, key: null });
  });

  it("has no room under the line where nothing looks ahead", async () => {
    const height = async (threshold: number) =>
      Number.parseFloat((await small({ threshold })).one(".scroll").style.height);
    const both = await height(0.2);
    document.body.replaceChildren();
    expect(await height(0.6)).toBeLessThan(both - 100);
  });

  it("has the tokens of both ranges of a window, and says that some are left out between", async () => {
    const drawn = screen();
    const made = madeUp({ queries: 400, keys: 400 }, () => 0.5, { placed: picture(400, 400, () => 0.5) });
    const { one } = await view({ queries: text(400) }, made, {
      panels: ["graph"],
      window: [100, 104, 10, 14],
    });
    const texts = drawn.texts.get("graph")!;
    expect(texts.filter((each) => /^\d+$/.test(each)).map(Number)).toEqual([
      10, 11, 12, 13, 100, 101, 102, 103,
    ]);
    expect(texts).toContain("…");
    expect(drawn.paths.get("graph")).toHaveLength(16);
    expect(one(".note").textContent).toContain("16 arcs ≥ 0.05 in the window");
  });

  it("draws the 2,000 strongest, and says so", async () => {
    const drawn = screen();
    const weight = (q: number, k: number) => (q * 60 + k + 1) / 3600;
    const made = madeUp({ queries: 60, keys: 60 }, weight, { placed: picture(60, 60, weight) });
    const { one } = await view({ queries: text(60) }, made, { panels: ["graph"], threshold: 0.1 });
    expect(one(".note").textContent).toContain("strongest 2,000 of 3,241 arcs ≥ 0.1");
    expect(drawn.paths.get("graph")!.length).toBeLessThanOrEqual(2000);
  });

  it("has two rows where queries look at other tokens: keys over queries", async () => {
    const drawn = screen();
    const weight = (q: number, k: number) => (k === q + 1 ? 1 : 0);
    const made = madeUp({ queries: 2, keys: 3 }, weight, { placed: picture(2, 3, weight) });
    const tokens = { queries: words(["q", "r"]), keys: words(["x", "y", "z"]) };
    const { one, store } = await view(tokens, made, { panels: ["graph"] });
    expect(drawn.texts.get("graph")).toEqual(
      expect.arrayContaining(["keys", "queries", "q", "r", "x", "y", "z"]),
    );
    expect(one(".direction").hidden).toBe(true);
    const [first] = drawn.paths.get("graph")!;
    expect(first![1]).toBeGreaterThan(first![7]!);
    const area = one(".scroll");
    point(area, "click", 10, 5);
    expect(store.locked.value).toEqual({ query: null, key: 0 });
    point(area, "click", 10, first![1]! + 10);
    expect(store.locked.value).toEqual({ query: 0, key: null });
    press(area, "ArrowUp");
    press(area, "ArrowRight");
    press(area, "Enter");
    expect(store.locked.value).toEqual({ query: null, key: 1 });
  });

  it("asks for a token where the pairs of a long head are not known, and for a kernel where there is none", async () => {
    screen();
    const made = madeUp({ queries: 4, keys: 4 }, at, { exact: false });
    const tile = { height: 2, width: 2, max: 65535, codes: new Uint16Array(4).fill(60000) };
    made.detail = () => tile;
    const { one, store } = await view({ queries: words(["a", "b", "c", "d"]) }, made, { panels: ["graph"] });
    expect(one(".note").textContent).toContain("choose a token to see its arcs");
    store.query.value = 2;
    await frame();
    expect(one(".note").textContent).toContain("arcs of query 2 once the exact weights are here");
    (made.link as { value: string }).value = "static";
    await frame();
    expect(one(".note").textContent).toContain("arcs of query 2 need a running kernel");
  });
});

describe("arcs", () => {
  const space = { one: true, over: 100, under: 130, high: 90, far: 400 };

  it("are as high as their ends are far apart, never higher than there is room", () => {
    const height = (to: number) => {
      const { curve } = arcOf(500, to, space);
      return ((curve[1] - curve[3]) * 3) / 4;
    };
    expect(height(450)).toBeLessThan(height(400));
    expect(height(100)).toBeCloseTo(90, 6);
    expect(height(-2000)).toBeCloseTo(90, 6);
  });

  it("of a token to itself are a loop wider than its ends are apart", () => {
    const { curve, out } = arcOf(50, 50, space);
    expect(curve[6] - curve[0]).toBe(6);
    expect(curve[4] - curve[2]).toBeGreaterThan(20);
    expect([curve[1], curve[7], out]).toEqual([100, 100, -1]);
  });
});

describe("a row of tokens", () => {
  const measure = (word: string) => word.length * 6;
  const labels = Array.from({ length: 40 }, (_, i) => "word".repeat(1 + (i % 3)));

  it("reads along the line where there is room, else stands upright and scrolls", () => {
    expect(tokenRow(labels, [[0, 10]], 900, measure)).toMatchObject({ upright: false, high: 34 });
    const upright = tokenRow(labels, [[0, 40]], 500, measure);
    expect(upright).toMatchObject({ upright: true, high: 88 });
    expect(upright.starts.at(-1)).toBe(40 * 17);
  });

  it("finds the token under every pixel, and none that is not there", () => {
    const row = tokenRow(
      labels,
      [
        [30, 35],
        [2, 6],
      ],
      900,
      measure,
    );
    expect(row.indices).toEqual([2, 3, 4, 5, -1, 30, 31, 32, 33, 34]);
    row.indices.forEach((index, place) => {
      if (index >= 0) expect(row.place(row.middle(index))).toBe(place);
      expect(row.place(row.starts[place]!)).toBe(place);
    });
    expect(row.middle(7)).toBeNaN();
    expect(row.indices[row.place(5000)]).toBeUndefined();
  });
});
