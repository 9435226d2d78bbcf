import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { effectWords } from "../src/panels/changes";
import type { Answer } from "../src/rpc";
import { RpcError } from "../src/rpc";
import { frame, madeUp, screen, text, view } from "./screen";

type Params = Record<string, unknown>;
type Reply = Record<string, unknown> | RpcError;

const ROWS = [
  [7, " Mary", "ĠMary", 0.75, 0],
  [9, "\n", "Ċ", 0.125, 1],
  [3, "ing", "ing", 0.0625, 2],
];
const said = (more: Params = {}) => ({ done: 1, masked: false, rows: ROWS, ...more });

beforeEach(() => {
  screen();
});
afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A live view of "the old New York bus rain" over a model that a test speaks for. */
async function show(
  reply: (method: string, params: Params) => Reply | Promise<Reply> = () => said(),
  traits: Parameters<typeof view>[2] = {},
) {
  const asked: [string, Params][] = [];
  const source = madeUp({ queries: 6, keys: 6 }, () => 0.25, {
    async ask(method, params): Promise<Answer> {
      asked.push([method, params as Params]);
      const ok = await reply(method, params as Params);
      if (ok instanceof RpcError) throw ok;
      return { ok, buffers: [] };
    },
  });
  const shown = await view({ queries: text(6) }, source, {
    ...{ panels: ["text", "output"], text: "the old New York bus rain" },
    ...traits,
  });
  const part = (selector: string) => shown.one(`[data-name="output"] ${selector}`);
  const button = (name: string) => {
    const all = shown.all('[data-name="output"] button') as HTMLButtonElement[];
    return all.find((each) => each.textContent!.startsWith(name) && !each.closest("[hidden]"))!;
  };
  const candidates = () => shown.all(".candidate") as HTMLButtonElement[];
  const results = () => shown.all(".results p").map(({ textContent }) => textContent);
  const settle = async () => {
    await frame();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await frame();
  };
  await settle();
  const of = (method: string) => asked.filter(([name]) => name === method).map(([, params]) => params);
  return { ...shown, source, asked, of, part, button, candidates, results, settle };
}

const place = { stack: "self", batch: 0 };

describe("what the model says", () => {
  it("stands at the position in focus, with probabilities, and its spaces can be seen", async () => {
    const { part, candidates, of } = await show(undefined, { query: 4 });
    expect(of("candidates")).toEqual([{ ...place, position: 4, token: null }]);
    expect(part(".note").textContent).toBe('after "bus" (query 4)');
    const shown = candidates().map((each) => [...each.children].map((child) => child.textContent));
    expect(shown).toEqual([
      ["␣Mary", "", "0.750"],
      ["⏎", "", "0.125"],
      ["ing", "", "0.0625"],
    ]);
    expect(candidates()[0]!.querySelector("i")!.style.width).toBe("75%");
  });

  it("is of the last token where nothing is locked, and of a masked model stands at the place", async () => {
    const { part, of } = await show(() => said({ masked: true }));
    expect(of("candidates")).toEqual([{ ...place, position: null, token: null }]);
    expect(part(".note").textContent).toBe('at the last token, "rain" (query 5)');
  });

  it("follows a lock at once and a pointer that rests, and is asked for once a place", async () => {
    const { store, of, settle, one } = await show();
    const token = (nth: number) => one(`[data-name="text"] .token[data-index="${nth}"]`);
    const over = (nth: number) => token(nth).dispatchEvent(new MouseEvent("pointermove", { bubbles: true }));
    const places = () => of("candidates").map(({ position }) => position);
    for (const nth of [1, 2, 3]) {
      over(nth);
      await frame();
    }
    expect(places()).toEqual([null]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(places()).toEqual([null, 3]);
    store.hoverPair.value = null;
    store.query.value = 2;
    await settle();
    expect(places()).toEqual([null, 3, 2]);
    store.query.value = null;
    await settle();
    expect(places()).toEqual([null, 3, 2]);
  });

  it("is refused in the words of the model, once, until it is asked again", async () => {
    let trains = true;
    const why =
      "tiny is in training mode, where dropout changes its output at random; call model.eval() first";
    const { part, of, store, settle, button } = await show(() =>
      trains ? new RpcError("unavailable", why) : said(),
    );
    expect(part(".empty").textContent).toBe(why);
    expect(part(".output").hidden).toBe(true);
    store.query.value = 1;
    await settle();
    expect(of("candidates")).toHaveLength(1);
    trains = false;
    button("ask again").click();
    await settle();
    expect(part(".output").hidden).toBe(false);
    expect(part(".note").textContent).toBe('after "old" (query 1)');
  });

  it("says what to do where there is no model, and that it needs a kernel", async () => {
    const { part, asked, source, settle } = await show(undefined, { text: "" });
    expect(part(".empty").textContent).toBe(
      "This view knows no model: model.show(text) makes one that says what comes next, and which heads matter for it.",
    );
    expect(asked).toEqual([]);
    (source.link as { value: string }).value = "static";
    await settle();
    expect(part(".empty").textContent).toBe("What the model says needs a running kernel.");
  });

  it("waits for a text that runs, and is asked for anew when that is there", async () => {
    const { store, of, settle } = await show();
    store.run.value = { state: "running" };
    store.query.value = 3;
    await settle();
    expect(of("candidates")).toHaveLength(1);
    store.meta.value = { ...store.meta.value, capture: 1 };
    store.run.value = { state: "idle" };
    await settle();
    expect(of("candidates").at(-1)).toEqual({ ...place, position: 3, token: null });
  });

  it("lets a candidate be chosen by click and key, and tells of it where it is unlikely", async () => {
    const { candidates, store, settle, of } = await show((_, { token, position }) =>
      token === 9 && position === 2
        ? said({ rows: [ROWS[0], [3, "ing", "ing", 0.06, 1], [9, "\n", "Ċ", null, 511]] })
        : said(),
    );
    candidates()[0]!.focus();
    candidates()[0]!.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    expect(candidates().map(({ tabIndex }) => tabIndex)).toEqual([-1, 0, -1]);
    candidates()[1]!.click();
    await settle();
    expect(store.token.value).toBe(9);
    expect(candidates().map((each) => each.getAttribute("aria-pressed"))).toEqual(["false", "true", "false"]);
    store.query.value = 2;
    await settle();
    expect(of("candidates").at(-1)).toEqual({ ...place, position: 2, token: 9 });
    expect(candidates().at(-1)!.textContent).toBe("⏎not a number");
    expect(candidates().map((each) => (each.children[1] as HTMLElement).dataset.number)).toEqual([
      undefined,
      undefined,
      "512",
    ]);
    candidates().at(-1)!.click();
    expect(store.token.value).toBeNull();
  });
});

describe("what matters for it", () => {
  it("is told by what becomes of a number without the locked head", async () => {
    const { button, results, of, settle, part } = await show((method) =>
      method === "ablate" ? { done: 1, baseline: 3.21, value: 3.45 } : said(),
    );
    button("ablate layer 1 head 1").click();
    await settle();
    expect(of("ablate")).toEqual([
      { ...place, layer: 1, head: 1, mode: "zero", metric: "loss", token: null, position: null },
    ]);
    expect(results()).toEqual(["layer 1 head 1 replaced (zero): loss 3.21 → 3.45 (+0.240)"]);
    expect(part(".caution").textContent).toMatch(/McGrath et al. 2023.*compare with the mean/);
  });

  it("is of a candidate once one is chosen", async () => {
    const { button, results, of, settle, store, part, candidates } = await show(
      (method) => (method === "knockout" ? { done: 1, baseline: 0.5, value: null } : said()),
      { query: 4, key: 2, metric: "probability" },
    );
    expect(part(".hint").textContent).toBe("Choose a candidate to compare its probability.");
    expect(button("in every layer").disabled).toBe(true);
    candidates()[0]!.click();
    await settle();
    expect(part(".hint").hidden).toBe(true);
    button("in layer 1").click();
    await settle();
    expect(of("knockout")).toEqual([
      { ...place, metric: "probability", token: 7, position: 4, query: 4, key: 2, layer: 1 },
    ]);
    expect(results()[0]).toBe(
      'query 4 "bus" → key 2 "New" cut in layer 1: probability of "␣Mary" after query 4 "bus" 0.500 → not a number',
    );
    store.key.value = null;
    await settle();
    expect(button("in every layer")).toBeUndefined();
    expect(part(".edge").textContent).toBe("Lock a query and a key to cut the edge between them.");
  });

  it("is not asked of heads while a measure of layers is shown", async () => {
    const { button, settle, part, store } = await show();
    const measure = {
      words: "attention rollout (Abnar and Zuidema 2020)",
      caution: "",
      unit: 1,
      whole: true,
    };
    const { stacks, ...rest } = store.meta.value;
    store.meta.value = { ...rest, stacks: [{ ...stacks[0]!, measure }] };
    [store.query.value, store.key.value] = [4, 2];
    await settle();
    expect(button("ablate")).toBeUndefined();
    expect(part(".changes").textContent).toContain(
      "Heads are not told apart by attention rollout (Abnar and Zuidema 2020): choose a measure of heads to ablate one.",
    );
    expect(button("in every layer")).toBeDefined();
  });

  it("is asked of every head in slices, with the share that is done, and can be stopped", async () => {
    const slices: ((reply: Reply) => void)[] = [];
    const { button, of, settle, part, results, store } = await show((method) =>
      method === "ablate" ? new Promise((resolve) => slices.push(resolve)) : said(),
    );
    const next = async (reply: Reply) => {
      slices.shift()!(reply);
      await settle();
    };
    button("ablate every head").click();
    await settle();
    await next({ done: 0.25 });
    expect(part(".job").textContent).toBe("Replacing heads …25 %cancel");
    expect(button("ablate every head").disabled).toBe(true);
    store.colour_by.value = "output:ablation";
    await next({ done: 1 });
    const what = "change of loss, each head replaced (zero):";
    expect(results()).toEqual([`${what} colours the grid`]);
    store.colour_by.value = null;
    await settle();
    expect(results()).toEqual([`${what} in the grid's list of colours`]);

    button("ablate every head").click();
    await settle();
    button("cancel").click();
    await settle();
    expect(of("cancel")).toHaveLength(1);
    await next({ done: 0.5 });
    expect(of("ablate")).toHaveLength(3);
    expect(button("ablate every head").disabled).toBe(false);
  });

  it("ends with the text that it is about", async () => {
    const slices: ((reply: Reply) => void)[] = [];
    const { button, of, settle, store, results } = await show((method) =>
      method === "ablate" ? new Promise((resolve) => slices.push(resolve)) : said(),
    );
    button("ablate every head").click();
    await settle();
    store.run.value = { state: "running" };
    await settle();
    slices[0]!({ done: 0.5 });
    await settle();
    expect(of("ablate")).toHaveLength(1);
    expect(button("ablate layer").disabled).toBe(false);
    expect(results()).toEqual([]);
  });

  it("says why not, and goes on", async () => {
    const why = "the logit of tiny cannot be attributed to heads: post-norm";
    const { button, settle, part, of, results } = await show(
      (method) => (method === "attribute" ? new RpcError("unavailable", why) : said()),
      { token: 7 },
    );
    button("attribute logit").click();
    await settle();
    expect(of("attribute")).toEqual([{ ...place, metric: "loss", token: 7, position: null }]);
    expect([part(".hint").textContent, part(".hint").className]).toEqual([why, "hint failure"]);
    expect(button("attribute logit").disabled).toBe(false);
    expect(results()).toEqual([]);
  });
});

describe("a change in words", () => {
  it("has a sign", () => {
    const words = (baseline: number | null, value: number | null) =>
      effectWords({ what: "without it", number: "loss", baseline, value })[1];
    expect(words(3.45, 3.21)).toBe("3.45 → 3.21 (−0.240)");
    expect(words(-1, 2)).toBe("−1.00 → 2.00 (+3.00)");
    expect(words(1, 1)).toBe("1.00 → 1.00 (0)");
    expect(words(null, 2)).toBe("not a number → 2.00");
  });
});

describe("a measure that belongs to layers", () => {
  it("has no heads to ablate, and says so", async () => {
    const { store, button, part, settle } = await show();
    const names = ["ablate every head", "ablate layer 1 head", "attribute logit"];
    for (const name of names) expect(button(name)).toBeDefined();
    const [stack] = store.meta.value.stacks;
    const measure = { words: "attention rollout", caution: "", unit: 1, whole: true };
    store.meta.value = { ...store.meta.value, stacks: [{ ...stack!, heads: 1, measure }] };
    await settle();
    for (const name of names) expect(button(name)).toBeUndefined();
    expect(part(".hint").textContent).toBe(
      "The measure shown belongs to layers. Choose another one to ablate heads.",
    );
  });
});
