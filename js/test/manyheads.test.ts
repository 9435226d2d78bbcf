/** Many heads: their colours, as one, and drawn together. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { headWords } from "../src/aggregates";
import { ask } from "../src/ask";
import { encode } from "../src/codes";
import { headColour } from "../src/colour";
import type { DataSource, HeadRef, Placed } from "../src/datasource";
import { strongestEdges, strongestOfHeads } from "../src/edges";
import type { StackMeta } from "../src/protocol";
import { signal } from "../src/signals";
import { sameHead } from "../src/state";
import { palette } from "../src/theme";
import { extentOf, isLong, wantKey } from "../src/wants";
import { ciede2000, labOf, linearOf, luminanceOf } from "./distance";
import { numbers, store, TRAITS } from "./helpers";
import { type Drawn, frame, madeUp, screen, text, view } from "./screen";

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const ref: HeadRef = { stack: "self", batch: 0, layer: 1, head: 2 };
const mean: HeadRef = { ...ref, aggregate: { reduce: "mean", layers: [1], heads: [0, 1, 2, 3] } };
const all = (n: number) => Array.from({ length: n }, (_, i) => i);

describe("the colours of 33 heads", () => {
  it("are measured with CIEDE2000 as its authors publish it", () => {
    // Sharma, Wu, Dalal 2005, table 1: pairs 1, 4, 7, 13, 17, 25 and 33.
    const published: [number, number, number, number, number, number, number][] = [
      [50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425],
      [50, -1.3802, -84.2814, 50, 0, -82.7485, 1.0],
      [50, 0, 0, 50, -1, 2, 2.3669],
      [50, -0.001, 2.49, 50, 0.0009, -2.49, 4.8045],
      [50, 2.5, 0, 50, 0, -2.5, 4.3065],
      [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
      [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
    ];
    for (const [a, b, c, d, e, f, distance] of published)
      expect(ciede2000([a, b, c], [d, e, f])).toBeCloseTo(distance, 3);
  });

  it.each([false, true])("differ by 10.5 and more, and stand out from the page (dark: %s)", (dark) => {
    const colours = all(33).map((head) => linearOf(headColour(head, dark)));
    const labs = colours.map(labOf);
    const distances = labs.flatMap((a, i) => labs.slice(i + 1).map((b) => ciede2000(a, b)));
    expect(Math.min(...distances)).toBeGreaterThan(10.5);
    const page = palette(dark)
      .page.slice(1)
      .match(/../g)!
      .map((hex) => ((Number.parseInt(hex, 16) / 255 + 0.055) / 1.055) ** 2.4);
    for (const colour of colours) {
      const [low, high] = [luminanceOf(colour), luminanceOf(page)].sort((a, b) => a - b) as [number, number];
      expect((high + 0.05) / (low + 0.05)).toBeGreaterThan(3);
    }
  });

  it("come again for no head up to 64", () => {
    expect(new Set(all(64).map((head) => headColour(head, false))).size).toBe(64);
  });
});

describe("many heads as one", () => {
  it("have a name of their own, whatever head is locked", () => {
    expect(sameHead(mean, { ...mean, layer: 0, head: 0 })).toBe(true);
    expect(sameHead(mean, ref)).toBe(false);
    expect(sameHead(mean, { ...mean, aggregate: { ...mean.aggregate!, reduce: "max" } })).toBe(false);
    expect(wantKey({ kind: "detail", ref: mean })).not.toBe(wantKey({ kind: "detail", ref }));
  });

  it("are named in words", () => {
    const stack: StackMeta = { name: "self", layers: 3, heads: 4, examples: [] };
    expect(headWords(ref, stack)).toBe("layer 1 head 2");
    expect(headWords(mean, stack)).toBe("mean of 4 heads, layer 1");
    const one = { ...mean, aggregate: { reduce: "max" as const, layers: [1], heads: [2] } };
    expect(headWords(one, stack)).toBe("max over 1 head, layer 1");
    const every = { ...mean, aggregate: { reduce: "max" as const, layers: all(3), heads: all(4) } };
    expect(headWords(every, stack)).toBe("max over all 12 heads");
    const whole = { ...stack, heads: 1, measure: { words: "", caution: "", unit: 1, whole: true } };
    expect(headWords(ref, whole)).toBe("layer 1");
    const layers = { ...mean, aggregate: { reduce: "mean" as const, layers: all(3), heads: [0] } };
    expect(headWords(layers, whole)).toBe("mean of all 3 layers");
  });

  it("are asked for in the place of a layer and a head", () => {
    const shape = () => ({ queries: 20, keys: 20 });
    const which = { aggregate: "mean", layers: [1], heads: [0, 1, 2, 3] };
    const of = (kind: "detail" | "values") => ask([{ kind, ref: mean }], shape).params;
    expect((of("detail") as { tiles: object[] }).tiles[0]).toMatchObject(which);
    expect((of("detail") as { tiles: object[] }).tiles[0]).not.toHaveProperty("layer");
    expect((of("values") as { blocks: object[] }).blocks[0]).toMatchObject(which);
    expect(ask([{ kind: "marginals", ref: mean, window: [0, 20, 0, 20] }], shape).params).toMatchObject(
      which,
    );
    const of_ = { kind: "detail", ref: mean } as const;
    expect(
      (ask([{ kind: "refine", ref: mean, of: of_ }], shape).params as { tile: object }).tile,
    ).toMatchObject(which);
  });

  it("are sampled as soon as all of them together are long, with a bounded amount of work", () => {
    const shape = { queries: 4096, keys: 4096 };
    const every = { ...ref, aggregate: { reduce: "mean" as const, layers: all(12), heads: all(12) } };
    expect(isLong({ kind: "detail", ref }, shape)).toBe(false);
    expect(isLong({ kind: "detail", ref: every }, shape)).toBe(true);
    for (const n of [513, 4096, 32768]) {
      const { looked, height, rows } = extentOf({ kind: "detail", ref: every }, { queries: n, keys: n });
      expect([rows, height >= 48]).toEqual([1, true]);
      expect(looked).toBeLessThanOrEqual(Math.max(2 ** 27, 48 * n * 144));
    }
    // Of a short text every pixel is a token: nothing to leave out.
    expect(extentOf({ kind: "detail", ref: every }, { queries: 512, keys: 512 }).height).toBe(512);
  });

  it("take the place of the locked head, but not of one that is passed over in the grid", () => {
    const s = store();
    s.aggregate.value = "max";
    s.over.value = "layers";
    expect(s.shownHead.value.aggregate).toEqual({ reduce: "max", layers: [0, 1, 2], heads: [0, 1, 2, 3] });
    const before = s.shownHead.value;
    s.layer.value = 2;
    expect(s.shownHead.value, "the same heads").toBe(before);
    s.over.value = "layer";
    expect(s.shownHead.value.aggregate?.layers).toEqual([2]);
    s.over.value = "heads";
    s.heads.value = [1, 3];
    expect(s.shownHead.value.aggregate?.heads).toEqual([1, 3]);
    expect(s.drawnHeads.value).toEqual([s.shownHead.value]);
    s.hoverHead.value = { layer: 0, head: 0 };
    expect(s.shownHead.value).toEqual({ stack: "self", batch: 0, layer: 0, head: 0 });
    s.hoverHead.value = null;
    s.stack.value = "cross";
    expect(s.shownHead.value.aggregate?.heads).toEqual([1]);
    s.aggregate.value = null;
    expect(s.shownHead.value).toBe(s.lockedHead.value);
  });

  it("are named in legend, readout, title and what is read out, and say where a kernel is needed", async () => {
    screen();
    const made = madeUp({ queries: 6, keys: 6 }, () => 0.2);
    const {
      root,
      one,
      store: s,
    } = await view(
      { queries: text(6) },
      { ...made, link: signal("static" as const) },
      {
        aggregate: "mean",
      },
    );
    const words = "mean of 2 heads, layer 1";
    expect(one(".legend").textContent).toContain(
      `${words} · weight after softmax, sqrt scale · range of these heads`,
    );
    expect(one(".readout").textContent).toContain(words);
    expect(root.dataset.aggregate).toBe(words);
    expect(one("[data-name=heatmap] .note").textContent).toContain(words);
    expect(one("[data-name=heatmap] .empty").textContent).toBe(
      `${words} is not stored here: it needs a running kernel.`,
    );
    expect(one("[data-name=lines] .note").textContent).toContain(
      `lines of the ${words} need a running kernel`,
    );
    s.query.value = 3;
    await frame();
    expect(one("[data-name=text] .note").textContent).toBe(`shaded by the weights from query 3, ${words}`);
    s.aggregate.value = null;
    await frame();
    expect(root.textContent).not.toContain(words);
  });
});

describe("the strongest pairs of several heads", () => {
  const head = (seed: number, n: number): Placed[] => {
    const next = numbers(seed);
    const codes = Uint16Array.from({ length: n * n }, () => encode(next() ** 4, 65535));
    return [{ tile: { height: n, width: n, max: 65535, codes }, queries: [0, n], keys: [0, n] }];
  };
  const of = (one: Placed[], limit: number) =>
    strongestEdges(one, { queries: [0, 30], keys: [0, 30] }, 0.05, limit);

  it.each([1, 50, 5000])("are the %s strongest of all pairs of all of them", (limit) => {
    const heads = [head(1, 30), head(2, 30), head(3, 30)];
    const each = heads.map((one) => of(one, 900)!);
    const found = strongestOfHeads(
      heads.map((one) => of(one, limit)),
      limit,
    )!;
    const every = each.flatMap((edges) => [...edges.weights]).sort((a, b) => b - a);
    expect(found.total).toBe(every.length);
    expect([...found.weights].reverse()).toEqual(every.slice(0, limit));
    found.weights.forEach((weight, i) => {
      const { codes } = heads[found.heads[i]!]![0]!.tile;
      expect(codes[found.queries[i]! * 30 + found.keys[i]!]).toBe(encode(weight, 65535));
    });
  });

  it("say that some are missing, and are none where all are", () => {
    expect(strongestOfHeads([of(head(1, 30), 9), of([], 9)], 9)!.whole).toBe(false);
    expect(strongestOfHeads([of([], 9), of([], 9)], 9)).toBe(null);
  });
});

/** A text of 6 tokens whose head h gives key (q + h) mod 6 a weight of 0.5, and 0.1 to the others. */
async function drawn(traits: Parameters<typeof view>[2] = {}, heads = 4) {
  const n = 6;
  const weight = (h: number) => (q: number, k: number) => (k === (q + h) % n ? 0.5 : 0.1);
  const sources = all(heads).map((h) => madeUp({ queries: n, keys: n }, weight(h)));
  const tiles = all(heads).map((h): Placed[] => {
    const codes = Uint16Array.from({ length: n * n }, (_, i) =>
      encode(weight(h)(Math.floor(i / n), i % n), 65535),
    );
    return [{ tile: { height: n, width: n, max: 65535, codes }, queries: [0, n], keys: [0, n] }];
  });
  const source: DataSource = {
    ...sources[0]!,
    row: (r: HeadRef, q: number) => sources[r.head]!.row(r, q),
    column: (r: HeadRef, k: number) => sources[r.head]!.column(r, k),
    placed: (r: HeadRef) => tiles[r.head]!,
  };
  const canvas: Drawn = screen();
  const base = TRAITS();
  const tokens = text(n);
  const stack = { name: "self", layers: 2, heads, examples: [{ queries: tokens, keys: null }] };
  const shown = await view({ queries: tokens }, source, {
    panels: ["lines"],
    threshold: 0.2,
    head: 2,
    ...traits,
  });
  shown.store.meta.value = { ...base.meta, stacks: [stack] };
  await frame();
  return {
    ...shown,
    curves: () => canvas.curves.get("lines")!.length,
    squares: () => shown.all(".heads button"),
  };
}

describe("the squares of the heads", () => {
  const pressed = (squares: HTMLElement[]) =>
    squares.flatMap((square, i) => (square.getAttribute("aria-pressed") === "true" ? [i] : []));
  const double = (square: HTMLElement) => {
    square.click();
    square.click();
    square.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
  };

  it("toggle with a click; the last one stays", async () => {
    const { store: s, squares, curves } = await drawn();
    expect(pressed(squares())).toEqual([2]);
    squares()[0]!.click();
    expect([s.heads.value, pressed(squares())]).toEqual([
      [0, 2],
      [0, 2],
    ]);
    await frame();
    expect(curves()).toBe(12);
    squares()[0]!.click();
    expect(s.heads.value).toEqual([]);
    squares()[2]!.click();
    expect(pressed(squares())).toEqual([2]);
  });

  it("isolate with a double click, and restore all from the only one", async () => {
    const { store: s, squares } = await drawn({ heads: [0, 2, 3] });
    double(squares()[3]!);
    expect([s.heads.value, s.head.value, pressed(squares())]).toEqual([[], 3, [3]]);
    double(squares()[3]!);
    expect([s.heads.value, s.head.value]).toEqual([[0, 1, 2, 3], 3]);
    double(squares()[1]!);
    expect([s.heads.value, s.head.value]).toEqual([[], 1]);
    double(squares()[0]!);
    expect(pressed(squares())).toEqual([0]);
  });

  it("answer the keyboard, with one stop for Tab", async () => {
    const { store: s, squares, root } = await drawn();
    const active = () => (root.getRootNode() as ShadowRoot).activeElement as HTMLElement;
    const press = (key: string) => {
      const event = new KeyboardEvent("keydown", { key, bubbles: true, composed: true, cancelable: true });
      active().dispatchEvent(event);
      return event.defaultPrevented;
    };
    expect(squares().map((square) => square.tabIndex)).toEqual([0, -1, -1, -1]);
    squares()[0]!.focus();
    expect([press("ArrowRight"), active()]).toEqual([true, squares()[1]]);
    expect(squares().map((square) => square.tabIndex)).toEqual([-1, 0, -1, -1]);
    press("ArrowDown");
    press("ArrowRight");
    press("ArrowRight");
    expect(active()).toBe(squares()[3]);
    expect(press(" "), "a button answers Space itself").toBe(false);
    expect(press("Enter")).toBe(true);
    expect([s.heads.value, s.head.value]).toEqual([[], 3]);
    press("ArrowLeft");
    expect(active()).toBe(squares()[2]);
  });

  it("have names, say which head the other panels show, and keep their hue when they are off", async () => {
    const { squares, one } = await drawn({ heads: [1] });
    expect(squares().map((square) => square.getAttribute("aria-label"))).toEqual(
      all(4).map((i) => `head ${i}`),
    );
    expect(squares().map((square) => square.getAttribute("aria-current"))).toEqual([
      null,
      null,
      "true",
      null,
    ]);
    expect(squares()[1]!.title).toContain("head 1: click draws it or not");
    expect(squares()[3]!.style.getPropertyValue("--hue")).toBe(headColour(3, false));
    expect(one(".heads").getAttribute("role")).toBe("toolbar");
  });

  it("choose the heads of an aggregate, starting from those it has", async () => {
    const { store: s, squares, one } = await drawn({ aggregate: "mean", over: "layer" });
    expect(pressed(squares())).toEqual([0, 1, 2, 3]);
    squares()[1]!.click();
    expect([s.over.value, s.heads.value, s.shownHead.value.aggregate?.heads]).toEqual([
      "heads",
      [0, 2, 3],
      [0, 2, 3],
    ]);
    const choose = (value: string) => {
      const select = one(".tools select") as HTMLSelectElement;
      select.value = value;
      select.dispatchEvent(new Event("change"));
    };
    expect((one(".tools select") as HTMLSelectElement).value).toBe("mean heads");
    choose("max layers");
    expect([s.aggregate.value, s.over.value]).toEqual(["max", "layers"]);
    choose("each");
    expect([s.aggregate.value, s.shownHead.value.aggregate]).toEqual([null, undefined]);
  });

  it("follow another stack, and are not there where there is one head", async () => {
    const { store: s, squares, one } = await drawn({ heads: [1, 3] });
    const { meta } = s;
    const [stack] = meta.value.stacks;
    meta.value = { ...meta.value, stacks: [{ ...stack!, heads: 2 }] };
    expect([squares().length, pressed(squares())]).toEqual([2, [1]]);
    meta.value = { ...meta.value, stacks: [{ ...stack!, heads: 1, layers: 1 }] };
    expect(one(".heads").hidden).toBe(true);
  });
});

describe("the lines of several heads", () => {
  it("are one for each query, key and head", async () => {
    const { one, curves, store: s } = await drawn({ heads: [0, 1, 3] });
    expect(curves()).toBe(18);
    expect(one(".note").textContent).toBe("18 lines ≥ 0.2 of 3 heads, opaque at 1");
    s.threshold.value = 0.05;
    await frame();
    expect(curves()).toBe(108);
    s.hoverHead.value = { layer: 1, head: 3 };
    await frame();
    expect(curves(), "a head passed over in the grid is seen alone").toBe(36);
  });

  it("of the focused token are drawn for every head", async () => {
    const { one, curves, store: s } = await drawn({ heads: [0, 1, 3], query: 2 });
    expect(curves()).toBe(3);
    expect(one(".note").textContent).toContain("lines of query 2 ≥ 0.2 of 3 heads");
    s.query.value = null;
    s.key.value = 4;
    await frame();
    expect(one(".note").textContent).toContain("lines of key 4 ≥ 0.2 of 3 heads");
    expect(curves()).toBe(3);
  });
});
