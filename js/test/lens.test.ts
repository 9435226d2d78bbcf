import { afterEach, describe, expect, it, vi } from "vitest";
import { encode, type Tile } from "../src/codes";
import factory from "../src/index";
import { CODE_MAX_U16, type Example } from "../src/protocol";
import { signal } from "../src/signals";
import { sinksIn } from "../src/sinks";
import { type FakeModel, fakeModel, numbers, TRAITS, turn, words } from "./helpers";
import { frame, madeUp, type Shown, screen, view } from "./screen";

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
});

function tile(n: number, weight: (query: number, key: number) => number): Tile {
  const codes = Uint16Array.from({ length: n * n }, (_, i) =>
    encode(weight(Math.floor(i / n), i % n), CODE_MAX_U16),
  );
  return { height: n, width: n, codes, max: CODE_MAX_U16 };
}

describe("sinks", () => {
  it("are keys with most of the mass of rows that have a choice", () => {
    for (let seed = 1; seed < 30; seed++) {
      const next = numbers(seed);
      const n = 4 + Math.floor(next() * 20);
      const causal = next() < 0.5;
      const heavy = Math.floor(next() * n);
      const rows = Array.from({ length: n }, (_, q) => {
        const row = Array.from({ length: n }, (_, k) =>
          causal && k > q ? Number.NaN : next() + (k === heavy ? next() * 2 * n : 0),
        );
        const sum = row.reduce((a, b) => a + (b || 0), 0);
        return row.map((w) => w / sum);
      });
      const counted = rows.filter((row) => row.filter((w) => !Number.isNaN(w)).length > 1);
      const mass = rows.map((_, k) => counted.reduce((sum, row) => sum + (row[k] || 0), 0));
      const all = mass.reduce((a, b) => a + b, 0);
      const least = Math.max(0.3, Math.min(4 / n, 0.9));
      const expected = mass.flatMap((m, k) => (m / all > least ? [[k, expect.closeTo(m / all, 3)]] : []));
      expect(sinksIn(tile(n, (q, k) => rows[q]![k]!))).toEqual(expected);
    }
  });
});

const PIECES = ["[CLS]", "un", "able", "cat", "[SEP]"];

async function shown(example: Partial<Example> = {}, traits = {}, link: "live" | "static" = "live") {
  screen();
  const n = 5;
  const head = tile(n, (_, k) => (k === 0 ? 0.9 : 0.025));
  const source = { ...madeUp({ queries: n, keys: n }, () => 0.1), detail: () => head, link: signal(link) };
  const at: Shown = await view({ queries: words(PIECES) }, source, traits);
  const meta = at.store.meta.peek();
  at.store.meta.value = {
    ...meta,
    words: Boolean(example.key_starts),
    stacks: meta.stacks.map((stack) => ({ ...stack, examples: [{ ...stack.examples[0]!, ...example }] })),
  };
  await frame();
  const press = (key: string) =>
    at.root.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
  const button = (name: RegExp) =>
    at.all("button").find((b) => name.test(b.getAttribute("aria-label") ?? "")) as HTMLButtonElement;
  return { ...at, press, button, legend: () => at.one(".legend").textContent };
}

describe("hidden keys", () => {
  it("names the sink, says that the range leaves it out, and hides it", async () => {
    const { legend, button, store } = await shown();
    expect(legend()).toContain(
      'sink: key 0 "[CLS]", about 90 % of the mass of this head, left out of the range',
    );
    button(/^Hide key 0/).click();
    expect(store.hidden_keys.value).toEqual([0]);
    store.domain.value = [0, 1];
    expect(legend()).not.toContain("left out of the range");
  });

  it("has a chip for each hidden key, and one for all of them", async () => {
    const { store, button, all, legend } = await shown(
      { hidden: [0, 1, 2, 3, 4].map((key) => [key, PIECES[key]!]) },
      { hidden_keys: [0, 1, 2, 3, 4] },
    );
    expect(all(".chip").map((chip) => chip.textContent)).toEqual([
      '0 "[CLS]"',
      '1 "un"',
      '2 "able"',
      '3 "cat"',
      "all 5",
    ]);
    expect(legend()).toContain(
      'rows renormalised without keys 0 "[CLS]", 1 "un", 2 "able", 3 "cat" and 1 more',
    );
    expect(legend()).toContain("not allowed by the mask, or hidden");
    button(/^Show key 2/).click();
    expect(store.hidden_keys.value).toEqual([0, 1, 3, 4]);
    button(/^Show all keys/).click();
    expect(store.hidden_keys.value).toEqual([]);
  });

  it("hands the focus on from a chip that goes: keys go on working", async () => {
    const { store, button, root } = await shown({ hidden: [[3, "cat"]] }, { hidden_keys: [3] });
    const shadow = root.getRootNode() as ShadowRoot;
    button(/^Show key 3/).focus();
    expect(shadow.activeElement?.textContent).toBe('3 "cat"');
    const { stacks } = store.meta.value;
    const now = { ...stacks[0]!.examples[0]!, hidden: [] };
    store.meta.value = { ...store.meta.value, stacks: [{ ...stacks[0]!, examples: [now] }] };
    await frame();
    expect(shadow.activeElement?.textContent).toBe("words");
  });

  it("hides the key in focus by h, and shows it again", async () => {
    const { store, press, one } = await shown(
      { hidden: [[3, "cat"]] },
      { query: 1, key: 2, hidden_keys: [3] },
    );
    const beside = one(".readout .toggle");
    expect([beside.textContent, beside.title]).toEqual(["hide key", 'Hide key 2 "able", key h']);
    press("h");
    expect(store.hidden_keys.value).toEqual([2, 3]);
    store.key.value = 3;
    expect(beside.textContent).toBe("show key");
    expect(one(".readout strong").textContent).toBe("hidden");
    beside.click();
    expect(store.hidden_keys.value).toEqual([2]);
    store.key.value = null;
    expect(beside.hidden).toBe(true);
    press("h");
    expect(store.hidden_keys.value).toEqual([2]);
  });

  it("hides all tokens of a word, and shows them again", async () => {
    const example = { key_starts: [0, 1, 3, 4, 5, 6] };
    const { store, press } = await shown(example, { key: 1 });
    press("h");
    expect(store.hidden_keys.value).toEqual([1, 2]);
    const { stacks } = store.meta.value;
    const now = { ...stacks[0]!.examples[0]!, hidden: [[1, "un"]] as [number, string][] };
    store.meta.value = { ...store.meta.value, stacks: [{ ...stacks[0]!, examples: [now] }] };
    store.hidden_keys.value = [1];
    press("h");
    expect(store.hidden_keys.value, "a word that is hidden in part is hidden whole").toEqual([1, 2]);
  });

  it("says that it needs a kernel where there is none, and does nothing", async () => {
    const { store, press, button, one } = await shown({ hidden: [[0, "[CLS]"]] }, { key: 1 }, "static");
    for (const name of [/^Merge sub-words/, /^Show key 0/, /^Hide key 1/]) {
      expect(button(name).disabled).toBe(true);
      expect(button(name).title).toMatch(/\. Needs a running kernel: run the cell again$/);
    }
    press("h");
    press("w");
    expect([store.hidden_keys.value, store.words.value]).toEqual([[], false]);
    expect(one(".legend").textContent).toContain('rows renormalised without key 0 "[CLS]"');
  });
});

describe("words", () => {
  it("are toggled by the button and by w, and said in the legend", async () => {
    const { store, press, button, legend } = await shown({ key_starts: [0, 1, 2, 3, 4, 5] });
    const toggle = button(/^Merge sub-words/);
    expect(toggle.getAttribute("aria-pressed")).toBe("false");
    toggle.click();
    expect([store.words.value, toggle.getAttribute("aria-pressed")]).toEqual([true, "true"]);
    press("w");
    expect(store.words.value).toBe(false);
    expect(legend()).toContain("words: sums over keys, means over queries");
  });
});

describe("another capture behind the view", () => {
  const asked = (model: FakeModel) =>
    model.sent as { id: number; method: string; params: { blocks?: unknown[] }; capture?: number }[];

  function start() {
    screen();
    const traits = TRAITS();
    const model = fakeModel({
      ...traits,
      meta: { ...traits.meta, capture: 0 },
      panels: ["text"],
      query: 0,
    });
    const el = document.createElement("div");
    document.body.append(el);
    const controller = new AbortController();
    const widget = factory();
    widget.initialize({ model, signal: controller.signal });
    widget.render({ model, el, signal: controller.signal });
    return { model, root: el.firstElementChild!.shadowRoot!.querySelector<HTMLElement>(".root")! };
  }
  const answer = (model: FakeModel, { id, params }: ReturnType<typeof asked>[number], weight: number) => {
    const blocks = params.blocks ?? [];
    const one = (block: unknown) => {
      const { queries, keys } = block as { queries: number[]; keys: number[] };
      return (queries[1]! - queries[0]!) * (keys[1]! - keys[0]!);
    };
    const buffers = blocks.map((block) => new DataView(new Float32Array(one(block)).fill(weight).buffer));
    model.emit("msg:custom", { id, ok: { blocks: blocks.map(() => ({})) } }, buffers);
  };

  it("is asked by its number; what was asked before is dropped, and its refusal is no problem", async () => {
    const { model, root } = start();
    await frame();
    const before = asked(model).slice();
    expect(before.map(({ capture }) => capture)).toEqual(before.map(() => 0));
    model.arrive("meta", { ...TRAITS().meta, capture: 1 });
    await frame();
    for (const late of before) answer(model, late, 0.75);
    await turn();
    await frame();
    expect(root.textContent).not.toContain("0.750");
    const after = asked(model).filter(({ method, capture }) => method === "values" && capture === 1);
    expect(after.length, "asked again").toBeGreaterThan(0);
    answer(model, after[0]!, 0.25);
    await turn();
    await frame();
    expect(root.textContent).toContain("0.250");
    expect(root.textContent).not.toContain("0.750");
    expect(root.querySelector<HTMLElement>(".problem")!.hidden).toBe(true);
  });

  it("asks at once for a sign of life, so that a kernel that is busy making it is seen to be", async () => {
    const { model, root } = start();
    await frame();
    const signs = () => asked(model).filter(({ params }) => JSON.stringify(params) === '{"tiles":[]}').length;
    expect(signs()).toBe(0);
    root.querySelector<HTMLElement>(".lens button")!.click();
    await turn();
    await turn();
    expect([model.traits.words, model.saved, signs()]).toEqual([true, 1, 1]);
    model.arrive("hidden_keys", [1]);
    await turn();
    await turn();
    expect(signs()).toBe(2);
  });

  it("keeps quiet when the kernel refuses what is stale", async () => {
    const { model, root } = start();
    await frame();
    for (const { id } of asked(model).slice())
      model.emit("msg:custom", { id, error: { code: "superseded", message: "not any more" } }, []);
    await frame();
    expect(root.querySelector<HTMLElement>(".problem")!.hidden).toBe(true);
  });
});
