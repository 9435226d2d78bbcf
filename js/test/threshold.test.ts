import { afterEach, describe, expect, it, vi } from "vitest";
import { encode } from "../src/codes";
import { toggled } from "../src/panelmenu";
import { numbers, words } from "./helpers";
import { frame, madeUp, screen, view } from "./screen";

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const N = 19;
const next = numbers(11);
/** A causal head: rows of random weights that add up to 1. */
const HEAD = Array.from({ length: N }, (_, q) => {
  const raw = Array.from({ length: N }, (_, k) => (k <= q ? next() ** 4 + 1e-3 : Number.NaN));
  const sum = raw.reduce((all, w) => all + (w || 0), 0);
  return raw.map((w) => Math.fround(w / sum));
});
const at = (q: number, k: number) => HEAD[q]![k]!;

/** The pairs that a mass keeps, said in another way: nothing stronger than it has reached the mass yet. */
const passes = (mass: number, q: number, k: number) => {
  const ahead = HEAD[q]!.filter((w, other) => w > at(q, k) || (w === at(q, k) && other < k));
  return at(q, k) > 0 && (!ahead.length || ahead.reduce((a, b) => a + b, 0) < mass);
};
const pairs = (mass: number, of: (q: number, k: number) => boolean = () => true) => {
  let n = 0;
  for (let q = 0; q < N; q++) for (let k = 0; k < N; k++) if (of(q, k) && passes(mass, q, k)) n++;
  return n;
};

async function mounted(traits = {}, options = {}) {
  const drawn = screen();
  const codes = Uint16Array.from({ length: N * N }, (_, i) => encode(at(Math.floor(i / N), i % N), 65535));
  const tile = { height: N, width: N, max: 65535, codes };
  const made = madeUp({ queries: N, keys: N }, at, {
    placed: [{ tile, queries: [0, N], keys: [0, N] }],
    ...options,
  });
  made.detail = () => tile;
  const tokens = { queries: words(Array.from({ length: N }, (_, i) => `t${i}`)) };
  const shown = await view(tokens, made, { panels: ["lines", "graph"], ...traits });
  const count = () => [drawn.curves.get("lines")!.length, drawn.curves.get("graph")!.length];
  return { ...shown, drawn, count };
}

const change = (control: HTMLElement, value: string, ...events: string[]) => {
  (control as HTMLInputElement).value = value;
  for (const name of events) control.dispatchEvent(new Event(name, { bubbles: true }));
};

describe("a threshold by mass", () => {
  it("draws of each row the strongest keys up to the mass, in lines and graph alike", async () => {
    const { root, count, store } = await mounted({ threshold_kind: "mass", threshold: 0.6 });
    expect(count()).toEqual([pairs(0.6), pairs(0.6)]);
    expect(root.textContent).toContain(`${pairs(0.6)} lines in the top 60 % of each query's mass`);
    expect(root.textContent).toContain(`${pairs(0.6)} arcs in the top 60 % of each query's mass`);
    store.threshold.value = 0.95;
    await frame();
    expect(count()).toEqual([pairs(0.95), pairs(0.95)]);
  });

  it("looks at whole rows also where a window shows a part, and where a key is in focus", async () => {
    const { count, store } = await mounted({
      ...{ threshold_kind: "mass", threshold: 0.6, window: [8, 18, 4, 12] as const },
    });
    const seen = pairs(0.6, (q, k) => q >= 8 && q < 18 && k >= 4 && k < 12);
    expect(count()).toEqual([seen, seen]);
    store.key.value = 9;
    await frame();
    const looking = pairs(0.6, (q, k) => k === 9 && q >= 8 && q < 18);
    expect(looking).toBeGreaterThan(0);
    expect(count()).toEqual([looking, looking]);
    store.key.value = null;
    store.query.value = 14;
    await frame();
    const looked = pairs(0.6, (q, k) => q === 14 && k >= 4 && k < 12);
    expect(looked).toBeGreaterThan(0);
    expect(count()).toEqual([looked, looked]);
  });

  it("is read from the picture while exact weights are on their way, if that has a cell for every pair", async () => {
    const { count } = await mounted({ threshold_kind: "mass", threshold: 0.6 }, { exact: false });
    expect(count()).toEqual([pairs(0.6), pairs(0.6)]);
  });
});

describe("the control of the threshold", () => {
  it("stands in both panels, and each follows the other", async () => {
    const { all, store } = await mounted();
    const [sliders, numbers] = [
      all('.tools [type="range"]'),
      all('.tools [type="number"]'),
    ] as HTMLInputElement[][];
    expect([sliders!.length, numbers!.length]).toEqual([2, 2]);
    change(sliders![0]!, "0.5", "input");
    expect([store.threshold.value, store.cut.value]).toEqual([0.05, 0.25]);
    change(sliders![0]!, "0.5", "change");
    expect(store.threshold.value).toBe(0.25);
    expect(numbers!.map((each) => each.value)).toEqual(["0.25", "0.25"]);
    expect(sliders!.map((each) => each.getAttribute("aria-valuetext"))).toEqual(["0.25", "0.25"]);
    change(numbers![1]!, "0.033", "change");
    expect(store.threshold.value).toBe(0.033);
    change(numbers![1]!, "7", "change");
    expect([store.threshold.value, numbers![1]!.value]).toEqual([0.033, "0.033"]);
  });

  it("keeps a number for each kind", async () => {
    const { all, store } = await mounted();
    const kind = all(".tools:not(:has(.heads)) select")[0]!;
    change(kind, "mass", "change");
    expect([store.threshold_kind.value, store.threshold.value]).toEqual(["mass", 0.9]);
    store.threshold.value = 0.7;
    change(kind, "weight", "change");
    expect(store.threshold.value).toBe(0.05);
    change(kind, "mass", "change");
    expect(store.threshold.value).toBe(0.7);
  });

  it("has a name for every part", async () => {
    const { all } = await mounted();
    for (const control of all(".tools input, .tools select, .tools button, .menu input")) {
      const label = control.closest("label")?.querySelector("span")?.textContent;
      expect(control.getAttribute("aria-label") ?? label, control.outerHTML).toMatch(/\w/);
    }
  });
});

describe("the list of panels", () => {
  it("shows and hides panels; the last one stays", async () => {
    const { all, one, root, store } = await mounted();
    const boxes = () => all(".menu input") as HTMLInputElement[];
    expect(boxes().map((box) => box.checked)).toEqual([false, false, true, true, false, false, false]);
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "p", bubbles: true }));
    expect((one(".menu") as HTMLDetailsElement).open).toBe(true);
    boxes()[4]!.click();
    boxes()[2]!.click();
    expect(store.panels.value).toEqual(["graph", "text"]);
    expect(all(".panel").map((panel) => panel.dataset.name)).toEqual(["graph", "text"]);
    boxes()[3]!.click();
    expect(boxes().map((box) => box.disabled)).toEqual([false, false, false, false, true, false, false]);
    store.query.value = 3;
    boxes()[4]!.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    expect([(one(".menu") as HTMLDetailsElement).open, store.query.value]).toEqual([false, 3]);
  });

  it("puts a panel back in its place, and leaves an order of one's own", () => {
    expect(toggled(["grid", "text"], "graph")).toEqual(["grid", "graph", "text"]);
    expect(toggled(["text", "lines"], "grid")).toEqual(["grid", "text", "lines"]);
    expect(toggled(["text", "lines"], "text")).toEqual(["lines"]);
  });
});

describe("the direction of the text", () => {
  it("is hidden between two texts until a pair is locked, which it then reads either way", async () => {
    screen();
    const made = madeUp({ queries: 2, keys: 3 }, () => 0.3);
    const tokens = { queries: words(["q", "r"]), keys: words(["x", "y", "z"]) };
    const { one, store } = await view(tokens, made, { panels: ["text"], query: 0 });
    expect(one(".direction").hidden).toBe(true);
    store.key.value = 2;
    expect(one(".direction").hidden).toBe(false);
    await frame();
    expect(one(".panel .note").textContent).toBe("shaded by the weights from query 0");
    one(".direction").click();
    await frame();
    expect(one(".panel .note").textContent).toBe("shaded by the weights to key 2");
  });
});
