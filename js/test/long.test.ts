import { afterEach, describe, expect, it, vi } from "vitest";
import { encode } from "../src/codes";
import { mount } from "../src/mount";
import type { Placed } from "../src/source";
import { words } from "./helpers";
import { frame, madeUp, screen, text, view } from "./screen";

const N = 32768;
const SHAPE = { queries: N, keys: N };
/** The query itself 0.4, the first key 0.2, key 12345 a quarter; the rest next to nothing. */
const weight = (q: number, k: number) => (k === 12345 ? 0.25 : k === 0 ? 0.2 : k === q ? 0.4 : 1e-6);

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const press = (target: Element, key: string, options = {}) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true, ...options }));
const type = (field: HTMLInputElement, value: string) => {
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
};

async function long(traits = {}, made = madeUp(SHAPE, weight)) {
  const drawn = screen();
  const shown = await view({ queries: text(N) }, made, traits);
  const spans = () => shown.all(".token").map((span) => Number(span.dataset.index));
  const field = shown.one('[type="search"]') as HTMLInputElement;
  return { ...shown, drawn, spans, field, made };
}

describe("a text of 32,768 tokens", () => {
  it("is a few hundred elements, around the focus, with buttons to the rest", async () => {
    const { root, spans, all } = await long({ query: 20000 });
    expect(root.querySelectorAll("*").length).toBeLessThan(1000);
    expect([spans().length, spans()[0], spans().at(-1)]).toEqual([600, 19700, 20299]);
    expect(all(".cut").map((cut) => cut.textContent)).toEqual([
      "… tokens 0 to 19699 left out …",
      "… tokens 20300 to 32767 left out …",
    ]);
    all(".cut")[1]!.click();
    await frame();
    expect([spans().length, spans()[0]]).toEqual([600, 20000]);
    expect((root.getRootNode() as ShadowRoot).activeElement?.getAttribute("data-index")).toBe("20300");
  });

  it("shows the window, and both of its sides where they are far apart", async () => {
    const { store, spans, all } = await long();
    expect(spans()[0]).toBe(0);
    store.window.value = [20000, 20100, 50, 150];
    await frame();
    expect([spans().length, spans()[0], spans()[99], spans()[100]]).toEqual([200, 50, 149, 20000]);
    expect(all(".cut")).toHaveLength(3);
    all(".cut")[1]!.click();
    await frame();
    expect(store.visible.value.queries).toEqual([100.5, 200.5]);
    expect(spans()).toContain(150);
  });

  it("moves the window as the arrows leave it, and keeps the keyboard", async () => {
    const { store, one, root, spans } = await long({ window: [1000, 1100, 1000, 1100] });
    const active = () => (root.getRootNode() as ShadowRoot).activeElement as HTMLElement;
    one('[data-index="1099"]').focus();
    press(active(), "ArrowRight");
    expect(active().dataset.index).toBe("1100");
    expect(store.focus.value).toEqual({ query: 1100, key: null });
    await frame();
    expect(active().dataset.index).toBe("1100");
    expect(store.visible.value.queries[1]).toBeGreaterThan(1100);
    expect(spans()).toContain(1100);
    expect(root.querySelectorAll('.token[tabindex="0"]')).toHaveLength(1);
  });

  it("follows a pointer in another panel, but not one that leaves the text", async () => {
    const { store, spans, all } = await long({ query: 20000 });
    store.hoverPair.value = { query: 5000, key: 30000, panel: "heatmap" };
    await frame();
    expect([spans()[0], spans().at(-1)]).toEqual([4850, 30149]);
    store.hoverPair.value = null;
    await frame();
    expect(spans()).not.toContain(20000);
    all(".cut")[0]!.click();
    await frame();
    store.hoverPair.value = { query: spans()[3]!, key: null, panel: "text" };
    store.hoverPair.value = null;
    await frame();
    expect(spans()).not.toContain(20000);
    store.query.value = 20001;
    await frame();
    expect(spans()).toContain(20001);
  });

  it("is laid out whole while it is short", async () => {
    screen();
    const { all, store } = await view({ queries: text(600) }, madeUp({ queries: 600, keys: 600 }, weight));
    store.window.value = [10, 20, 10, 20];
    await frame();
    expect(all(".token")).toHaveLength(600);
    expect(all(".cut")).toHaveLength(0);
    expect(all(".token:not(.outside)")).toHaveLength(10);
  });

  it("shares its elements where queries and keys are two texts", async () => {
    screen();
    const { all, root } = await view(
      { queries: text(5000), keys: text(N) },
      madeUp({ queries: 5000, keys: N }, weight),
    );
    expect(all(".text").map((t) => t.querySelectorAll(".token").length)).toEqual([300, 300]);
    expect(root.querySelectorAll("*").length).toBeLessThan(1000);
  });
});

describe("the strongest keys", () => {
  const chips = (all: (s: string) => HTMLElement[]) =>
    all("[data-name=text] .pairs button")
      .filter((button) => !button.hidden)
      .map((button) => [...button.children].map((part) => part.textContent).join(" "));

  it("of the focused query are buttons that lock the pair and bring it into sight", async () => {
    const { store, all, one } = await long({ query: 20000, window: [19900, 20100, 19900, 20100] });
    expect(chips(all).slice(0, 3)).toEqual(["20000 New 0.400", "12345 York 0.250", "0 the 0.200"]);
    expect(one("[data-name=text] .pairs").textContent).toContain("strongest keys of query 20000");
    all("[data-name=text] .pairs button")[1]!.click();
    await frame();
    expect(store.locked.value).toEqual({ query: 20000, key: 12345 });
    expect(store.visible.value.keys[0]).toBeLessThan(12345);
    expect(store.visible.value.queries).toEqual([19900, 20100]);
    expect(all("[data-name=text] .pairs button")[1]!.getAttribute("aria-pressed")).toBe("true");
  });

  it("stay while the pointer is on its way to them", async () => {
    const { store, all, one } = await long();
    store.hoverPair.value = { query: 7, key: null, panel: "heatmap" };
    await frame();
    store.hoverPair.value = null;
    await frame();
    expect(one("[data-name=text] .pairs").textContent).toContain("strongest keys of query 7");
    all("[data-name=text] .pairs button")[2]!.click();
    expect(store.locked.value).toEqual({ query: 7, key: 0 });
  });

  it("are not guessed from pooled cells, and say what they wait for", async () => {
    const made = madeUp(SHAPE, weight, { exact: false });
    const { all, one, store } = await long({ key: 12345 }, made);
    expect(chips(all)).toEqual([]);
    expect(one("[data-name=text] .pairs").textContent!.replace(/ {2,}/g, " ")).toBe(
      "strongest queries of key 12345 once the exact weights are here",
    );
    made.options.exact = true;
    made.version.value++;
    await frame();
    expect(chips(all)[0]).toBe("0 the 0.250");
    expect(store.locked.value.key).toBe(12345);
  });

  it("say that the mask allows nothing", async () => {
    const { one } = await long(
      { query: 3 },
      madeUp(SHAPE, () => Number.NaN),
    );
    expect(one("[data-name=text] .pairs").textContent).toContain("the mask allows no keys");
  });
});

describe("the search field", () => {
  it("previews the nearest match, counts, and takes the preview back with Esc", async () => {
    const { store, field, one, all } = await long({ window: [19900, 20100, 19900, 20100], query: 19950 });
    field.focus();
    type(field, "new york bus rain");
    await frame();
    expect(one(".said").textContent).toBe("3,326 of 5,461");
    expect(store.focus.value).toEqual({ query: 19952, key: null });
    expect(store.locked.value.query).toBe(19950);
    expect(all(".token.current").map((span) => span.textContent)).toEqual(["New", "York", "bus", "rain"]);
    type(field, "#5");
    await frame();
    expect(store.visible.value.queries[0]).toBe(0);
    press(field, "Escape");
    await frame();
    expect([field.value, store.found.value, store.locked.value.query]).toEqual(["", null, 19950]);
    expect(store.visible.value.queries).toEqual([19900, 20100]);
    expect(all(".found")).toHaveLength(0);
  });

  it("locks with Enter, goes on with the next, back with Shift, and keeps the lock", async () => {
    const { store, field, one, spans } = await long({ direction: "to" });
    type(field, "York");
    press(field, "Enter");
    expect(store.locked.value).toEqual({ query: null, key: 3 });
    press(field, "Enter");
    press(field, "Enter");
    expect([store.locked.value.key, one(".said").textContent]).toEqual([15, "3 of 5,461"]);
    press(field, "Enter", { shiftKey: true });
    expect(store.locked.value.key).toBe(9);
    one(".find button").click();
    one(".find button").click();
    await frame();
    expect(one(".said").textContent).toBe("5,461 of 5,461");
    expect(spans()).toContain(store.locked.value.key);
    press(field, "Escape");
    expect(store.locked.value.key).toBe(32763);
  });

  it("jumps to an index, and says which there are", async () => {
    const { store, field, one, spans } = await long();
    type(field, "30000:");
    press(field, "Enter");
    await frame();
    expect([store.locked.value.query, one(".said").textContent]).toEqual([30000, ""]);
    expect(spans()).toContain(30000);
    type(field, "#40000");
    expect(one(".said").textContent).toBe("no such token: there are 0 to 32,767");
    expect(store.focus.value.query).toBe(30000);
    type(field, "nowhere");
    expect(one(".said").textContent).toBe("not in the text");
  });

  it("opens with / and ctrl + F, and is not disturbed by the keys of the view", async () => {
    const { root, field, store } = await long();
    const active = () => (root.getRootNode() as ShadowRoot).activeElement;
    press(root, "/");
    expect(active()).toBe(field);
    field.blur();
    press(root, "f", { ctrlKey: true });
    expect(active()).toBe(field);
    const { layer, head } = store.lockedHead.value;
    press(field, "[");
    press(field, "?");
    expect(store.lockedHead.value).toMatchObject({ layer, head });
    expect(root.querySelector("dialog")?.open).toBe(false);
  });

  it("searches again when another text is shown", async () => {
    const { store, field, one } = await long();
    type(field, "zebra");
    expect(one(".said").textContent).toBe("not in the text");
    const { meta } = store;
    const examples = [{ queries: words(["a", "zebra"]), keys: null }];
    meta.value = { ...meta.value, stacks: [{ ...meta.value.stacks[0]!, examples }] };
    await frame();
    expect(one(".said").textContent).toBe("1 of 1");
  });
});

describe("a search in one of two views of a widget", () => {
  it("goes on when another text is shown", async () => {
    const { store, field, made } = await long();
    const other = document.createElement("div");
    document.body.append(other);
    const unmount = mount(other, store, made);
    type(field, "zebra");
    const { meta } = store;
    const examples = [{ queries: words(["a", "zebra"]), keys: null }];
    meta.value = { ...meta.value, stacks: [{ ...meta.value.stacks[0]!, examples }] };
    await frame();
    expect(store.found.value?.hits.length).toBe(1);
    unmount();
  });
});

describe("the lines of a long head", () => {
  it("have two columns that start where the window starts, and lines inside it only", async () => {
    const near = (q: number, k: number) => (k === q - 1000 || k === 12345 ? 0.4 : 0.001);
    const { drawn, one, all, store } = await long(
      { window: [20000, 20020, 19000, 19020], query: 20003, panels: ["lines"] },
      madeUp(SHAPE, near),
    );
    const texts = drawn.texts.get("lines")!;
    expect(texts).toContain("20000");
    expect(texts).toContain("19000");
    expect(texts).not.toContain("20020");
    expect(drawn.curves.get("lines")).toHaveLength(1);
    const [[from, to]] = drawn.curves.get("lines") as [[number, number]];
    expect(from).toBeCloseTo(to, 6);
    expect(one(".pairs").textContent!.trim()).toBe("1 more out of sight:12345 York 0.400");
    all(".pairs button")[0]!.click();
    expect(store.locked.value).toEqual({ query: 20003, key: 12345 });
    expect(store.visible.value.keys).toEqual([12335.5, 12355.5]);
  });

  it("wait for the exact weights rather than draw one to every token under a cell", async () => {
    const made = madeUp(SHAPE, () => 0.5, { exact: false });
    const { drawn, root } = await long({ query: 5, panels: ["lines"] }, made);
    expect(drawn.curves.get("lines")).toHaveLength(0);
    expect(root.textContent).toContain("lines of query 5 once the exact weights are here");
  });

  it("are at most 2,000 for one token, the strongest, drawn last", async () => {
    const { drawn } = await long(
      { query: 5, threshold: 0, panels: ["lines"] },
      madeUp(SHAPE, (_, k) => (k + 1) / N),
    );
    expect(drawn.curves.get("lines")!.length).toBeLessThanOrEqual(2000);
  });

  it("are those of the tiles that show single pairs, where nothing is focused", async () => {
    const tile = { height: 256, width: 256, max: 65535, codes: new Uint16Array(65536) };
    const placed: Placed[] = [{ tile, queries: [19968, 20224], keys: [19968, 20224] }];
    tile.codes[(20005 - 19968) * 256 + (20001 - 19968)] = encode(0.5, 65535);
    tile.codes[(20105 - 19968) * 256 + (20001 - 19968)] = encode(0.5, 65535);
    const { drawn, root } = await long(
      { window: [20000, 20020, 20000, 20020], panels: ["lines"] },
      madeUp(SHAPE, weight, { placed }),
    );
    expect(drawn.curves.get("lines")).toHaveLength(1);
    expect(root.textContent).toContain("1 line ≥ 0.05 in the window");
  });

  it("say so where the locked token is not in the window", async () => {
    const { root, drawn } = await long({ window: [0, 20, 0, 20], query: 500, panels: ["lines"] });
    expect(root.textContent).toContain("query 500 is outside of the window");
    expect(drawn.curves.get("lines")).toHaveLength(0);
  });
});
