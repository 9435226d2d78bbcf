import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fakeKernel } from "../dev/kernel";
import { ask } from "../src/ask";
import type { PairDetail } from "../src/datasource";
import { drawComponents, HEIGHT, placeAt } from "../src/panels/components";
import { componentWords } from "../src/panels/detail";
import { Rpc } from "../src/rpc";
import { TileSource } from "../src/source";
import { palette } from "../src/theme";
import type { Refusal, Want } from "../src/wants";
import { turn } from "./helpers";
import { type Drawn, frame, madeUp, screen, text, view } from "./screen";

const Q = [1, -2, 0.5, 0];
const K = [2, 1, -4, 3];
const detail = (change: Partial<PairDetail> = {}): PairDetail => ({
  size: 4,
  dot: -2,
  few: 2,
  share: "2 of 4 components make 80 % of the sum of |q × k|",
  steps: [
    ["score", "−1.00", "= scale 0.500 × q · k −2.00"],
    ["weight = exp(−1.50) =", "0.223", ""],
  ],
  q: Float32Array.from(Q),
  k: Float32Array.from(K),
  ...change,
});

let drawn: Drawn;
beforeEach(() => {
  drawn = screen();
});
afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A view whose source knows this of every pair. */
async function show(
  pair: (query: number, key: number) => PairDetail | Refusal | null,
  traits: Parameters<typeof view>[2] = {},
) {
  const source = madeUp({ queries: 6, keys: 6 }, () => 0.25);
  source.pair = (_, query, key) => {
    void source.version.value;
    return pair(query, key);
  };
  const shown = await view({ queries: text(6) }, source, { panels: ["detail"], ...traits });
  const part = (selector: string) => shown.one(`[data-name="detail"] ${selector}`);
  const said = () => part(".body").textContent;
  const press = async (key: string, init: KeyboardEventInit = {}) => {
    part(".stage").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...init }));
    await frame();
  };
  return { ...shown, source, part, said, press };
}

const locked = { query: 4, key: 2 };

describe("the panel of scores and query-key detail", () => {
  it("says what to do while no pair is locked", async () => {
    const { part } = await show(() => detail());
    expect(part(".empty").textContent).toBe("Lock a query and a key to see how their weight came about.");
    expect(part(".body > div").hidden).toBe(true);
  });

  it("shows the way from q and k to the weight, and which pair it is", async () => {
    const { part } = await show(() => detail(), locked);
    const spans = [...part(".sum").children].map((span) => span.textContent?.trim());
    expect(spans).toEqual(["score −1.00 = scale 0.500 × q · k −2.00", "weight = exp(−1.50) = 0.223"]);
    expect(part(".note").textContent).toBe('layer 1 head 1 · query 4 "bus" → key 2 "New"');
    expect(part(".empty").textContent).toBe("");
    expect(part(".body").textContent).toContain("2 of 4 components make 80 % of the sum of |q × k|");
  });

  it("sorts components by size, or as they are numbered, and remembers that in a trait", async () => {
    const { part, store } = await show(() => detail(), locked);
    part(".outlined").click();
    await frame();
    expect([store.components.value, part(".outlined").textContent]).toEqual(["index", "in order"]);
    part(".outlined").click();
    await frame();
    expect(store.components.value).toBe("size");
  });

  it("puts the largest product first", async () => {
    await show(() => detail({ k: Float32Array.from([0.1, 1, -8, 3]) }), locked);
    expect(drawn.texts.get("detail")).toEqual(
      ["q", "± 2.0", "k", "± 8.0", "q × k", "± 4.0"].concat(["2", "1", "0", "3"]),
    );
  });

  it("walks through the components by keys, and says each", async () => {
    const { part, press } = await show(() => detail(), locked);
    const words = () => part('[aria-live="polite"]').textContent;
    await press("ArrowRight");
    expect(words()).toBe("component 0: q 1.00 × k 2.00 = 2.00, −100.0 % of q · k");
    await press("ArrowRight");
    await press("ArrowDown");
    expect(words()).toBe("component 2: q 0.500 × k −4.00 = −2.00, 100.0 % of q · k");
    await press("ArrowLeft");
    expect(words()).toBe("component 1: q −2.00 × k 1.00 = −2.00, 100.0 % of q · k");
    part(".stage").dispatchEvent(new FocusEvent("focusout"));
    await frame();
    expect(words()).toBe("");
  });

  it("says why q and k are not known, where they would have been", async () => {
    const why = "q and k are not known: this capture holds weights only";
    const { part } = await show(() => ({ why }), locked);
    expect(part(".empty").textContent).toBe(why);
    expect(part(".body > div").hidden).toBe(true);
  });

  it("keeps what it showed, dimmed, until the next pair has come", async () => {
    const { part, said, store, source } = await show((query) => (query === 4 ? detail() : null), locked);
    store.query.value = 3;
    await frame();
    expect(part(".body > div").className).toBe("waiting");
    expect(part(".note").textContent).toContain("query 4");
    source.problem.value = "The kernel could not answer (failed): out of memory";
    await frame();
    expect(said()).toContain("out of memory");
    expect(part(".body > div").hidden).toBe(true);
  });

  it("says that it needs a kernel", async () => {
    const { part, source, store } = await show(() => null, locked);
    expect(part(".empty").textContent).toBe("Asking the kernel …");
    (source.link as { value: string }).value = "static";
    await frame();
    expect(part(".empty").textContent).toBe("Scores, q and k need a running kernel.");
    store.key.value = null;
    await frame();
    expect(part(".empty").textContent).toMatch(/^Lock a query/);
  });

  it("opens and closes by its button and by d, and stays where it is the only panel", async () => {
    const { one, store, root } = await show(() => detail(), { panels: ["text"] });
    const button = one(".explain") as HTMLButtonElement;
    button.click();
    expect(store.panels.value).toEqual(["text", "detail"]);
    expect(button.getAttribute("aria-pressed")).toBe("true");
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "d", bubbles: true }));
    expect(store.panels.value).toEqual(["text"]);
    root
      .querySelector("select")
      ?.dispatchEvent(new KeyboardEvent("keydown", { key: "d", bubbles: true, composed: true }));
    expect(store.panels.value).toEqual(["text"]);
    store.panels.value = ["detail"];
    expect(button.disabled).toBe(true);
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "d", bubbles: true }));
    expect(store.panels.value).toEqual(["detail"]);
  });
});

describe("one component in words", () => {
  it("has a share of q · k only where there is one", () => {
    expect(componentWords(detail({ dot: 0 }), 2)).toBe("component 2: q 0.500 × k −4.00 = −2.00");
    expect(componentWords(detail({ dot: null }), 3)).toBe("component 3: q 0 × k 3.00 = 0");
    expect(componentWords(detail({ q: Float32Array.from([3e-6, 0, 0, 0]) }), 0)).toBe(
      "component 0: q 3.00 × 10⁻⁶ × k 2.00 = 6.00 × 10⁻⁶, −0.000300 % of q · k",
    );
  });
});

describe("the strips", () => {
  /** Rectangles as they are filled: colour, x, y, width, height. */
  function bars(values: number[], width = 200, dark = false) {
    const filled: [string, number, number, number, number][] = [];
    const pen = {
      fillStyle: "",
      textAlign: "",
      fillText() {},
      fillRect(...box: [number, number, number, number]) {
        filled.push([pen.fillStyle, ...box]);
      },
    };
    const colours = palette(dark);
    const order = values.map((_, i) => i);
    drawComponents(
      pen as unknown as CanvasRenderingContext2D,
      ...([width, { q: Float32Array.from(values) }, order, colours, dark, { at: null, few: 0 }] as const),
    );
    return filled.filter(([colour]) => colour !== colours.rule);
  }

  it("rise above zero and hang below it, as long as their number, in two hues", () => {
    const [up, down, none] = bars([2, -1, 0]) as unknown as [number[], number[], number[]];
    expect(up[0]).toBe(palette(false).accent);
    expect(down[0]).toBe("#1f64a8");
    expect([up[4], down[4], none[4]]).toEqual([-19, 9.5, 0]);
    expect(new Set([up[2], down[2], none[2]]).size).toBe(1);
    expect(bars([1, -1], 200, true)[1]?.[0]).toBe("#74b3f0");
  });

  it("never leave a component out, however narrow it is, and draw nothing for what is no number", () => {
    expect(bars(Array(600).fill(1), 300).every(([, , , width]) => width >= 1 / devicePixelRatio)).toBe(true);
    expect(bars([Number.NaN, 1])[0]?.[4]).toBe(0);
    expect(bars([0, 0]).map((bar) => bar[4])).toEqual([0, 0]);
  });

  it("are found again under the pointer", () => {
    for (const [width, n] of [
      [900, 64],
      [300, 256],
      [1500, 8],
    ] as const)
      for (let place = 0; place < n; place++) {
        const pitch = Math.min((width - 54) / n, 24);
        expect(placeAt(46 + (place + 0.5) * pitch, width, n)).toBe(place);
      }
    expect([placeAt(10, 900, 64), placeAt(899, 900, 8), placeAt(100, 900, 0)]).toEqual([null, null, null]);
    expect(HEIGHT).toBeGreaterThan(100);
  });
});

describe("asking for a pair", () => {
  const ref = { stack: "self", batch: 0, layer: 3, head: 5 };
  const want: Want = { kind: "qk", ref, query: 7, key: 2 };
  const shape = () => ({ queries: 13, keys: 13 });

  it("takes one message of its own, and reads q and k from one buffer", () => {
    const batch = ask([want, { kind: "row", ref, index: 1 }], shape);
    expect([batch.method, batch.params, batch.wants]).toEqual([
      "detail",
      { ...ref, query: 7, key: 2 },
      [want],
    ]);
    const { content, buffers } = fakeKernel(13, 13, false).answer({
      ...{ id: 1, method: batch.method, params: batch.params as object },
    });
    const [[, found]] = batch.take((content as { ok: Record<string, unknown> }).ok, buffers) as unknown as [
      [Want, PairDetail],
    ];
    const dot = found.q.reduce((sum, value, i) => sum + value * found.k[i]!, 0);
    expect(found.q).toHaveLength(64);
    expect(found.dot).toBeCloseTo(dot, 4);
    expect(() => batch.take({ size: 65 }, buffers)).toThrow(/^130 f32 numbers were expected/);
  });

  it("does not travel with blocks", () => {
    const batch = ask([{ kind: "row", ref, index: 1 }, want], shape);
    expect(batch.wants).toHaveLength(1);
  });

  it("is answered for good by a kernel that does not know, with its reason and no alarm", async () => {
    const frames: (() => void)[] = [];
    let asked = 0;
    const rpc: Rpc = new Rpc({
      send({ id }) {
        asked++;
        const error = { code: "unavailable", message: "q and k are not known" };
        queueMicrotask(() => rpc.receive({ id, error }, []));
      },
      detached: () => false,
    });
    const source = new TileSource(rpc, { shape, schedule: (run) => frames.push(run) });
    source.want({}, [want]);
    for (let i = 0; i < 3; i++) {
      for (const run of frames.splice(0)) run();
      await turn();
    }
    expect(source.pair(ref, 7, 2)).toEqual({ why: "q and k are not known" });
    expect([source.problem.value, asked, source.has(want)]).toEqual([null, 1, true]);
  });
});
