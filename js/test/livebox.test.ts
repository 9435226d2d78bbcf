import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import factory from "../src/index";
import type { LiveText } from "../src/protocol";
import { type FakeModel, fakeModel, TRAITS, words } from "./helpers";
import { screen } from "./screen";

interface Sent {
  id: number;
  method: string;
  params: { text?: LiveText };
  capture?: number;
}

const EARLIER = "What is shown is not of this text yet.";
const DISCONNECTED = "jupyter-widgets-disconnected";

/** What takes the views of a test away, so that none of their timers outlives it. */
const shown: AbortController[] = [];

/** A live view over a kernel that a test speaks for. happy-dom has no canvas: what draws fails, and the rest lives on. */
function show(text: LiveText = "the cat", seconds = 3, className = "") {
  vi.spyOn(console, "error").mockImplementation(() => {});
  const traits = { ...TRAITS(), text, run: { state: "idle" as const, text, message: "", seconds } };
  const model: FakeModel = fakeModel(traits);
  const el = document.createElement("div");
  el.className = className;
  document.body.append(el);
  const controller = new AbortController();
  shown.push(controller);
  const { signal } = controller;
  const widget = factory();
  widget.initialize({ model, signal });
  widget.render({ model, el, signal });
  const root = el.firstElementChild!.shadowRoot!.querySelector<HTMLElement>(".root")!;
  const box = root.querySelector<HTMLElement>(".live")!;
  const [go, cancel] = box.querySelectorAll("button");
  return {
    ...{ model, el, root, box, go: go!, cancel: cancel! },
    fields: () => [...box.querySelectorAll("textarea")],
    said: () => box.querySelector('[role="status"]')!.textContent!.trim(),
    asked: () => (model.sent as Sent[]).filter(({ method }) => method === "run" || method === "cancel"),
    state: (state: string, about: LiveText, message = "") =>
      model.arrive("run", { state, text: about, message, seconds }),
    async answer(error?: { code: string; message: string }) {
      const { id } = (model.sent as Sent[]).at(-1)!;
      model.emit("msg:custom", { id, ...(error ? { error } : { ok: {} }) }, []);
      await vi.advanceTimersByTimeAsync(0);
    },
    type(value: string, nth = 0, init: InputEventInit = {}) {
      const field = box.querySelectorAll("textarea")[nth]!;
      field.value = value;
      field.dispatchEvent(new InputEvent("input", init));
    },
    press(key: string, init: KeyboardEventInit = {}) {
      const event = new KeyboardEvent("keydown", {
        key,
        bubbles: true,
        composed: true,
        cancelable: true,
        ...init,
      });
      box.querySelector("textarea")!.dispatchEvent(event);
      return event;
    },
  };
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  for (const controller of shown.splice(0)) controller.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("the text box", () => {
  it("is not there where one capture is shown", () => {
    expect(show("").box.hidden).toBe(true);
  });

  it("runs a slow model when it is told to, by key or button", async () => {
    const { type, press, asked, said, answer, go, state } = show();
    expect(said()).toBe("Edit it: Ctrl or ⌘ + Enter runs the model.");
    type("the dog");
    expect(said()).toBe(`Edited. ${EARLIER} Ctrl or ⌘ + Enter runs the model.`);
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked()).toEqual([]);
    expect(press("Enter").defaultPrevented).toBe(false);
    expect(press("Enter", { ctrlKey: true }).defaultPrevented).toBe(true);
    expect(asked().map(({ method, params }) => [method, params])).toEqual([["run", { text: "the dog" }]]);
    expect(said()).toBe(`Waiting for the kernel … ${EARLIER} Esc cancels.`);
    await answer();
    state("running", "the dog");
    expect(said()).toBe(`Running … ${EARLIER} Esc cancels.`);
    go.click();
    press("Enter", { metaKey: true });
    expect(asked()).toHaveLength(3);
  });

  it("runs a quick model when the typing pauses, once, and never an empty text or half of a character", async () => {
    const { type, asked, said, fields, state, answer, model } = show("the cat", 0.1);
    expect(said()).toBe("Edit it: the model runs when you pause.");
    for (const text of ["t", "th", "the dog"]) {
      type(text);
      await vi.advanceTimersByTimeAsync(300);
    }
    expect(asked()).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    expect(asked().map(({ params }) => params.text)).toEqual(["the dog"]);
    await answer();
    state("running", "the dog");
    type("the dog ");
    type("the dog");
    await vi.advanceTimersByTimeAsync(2000);
    expect(asked()).toHaveLength(1);
    model.arrive("text", "the dog");
    state("idle", "the dog");
    type("  ");
    await vi.advanceTimersByTimeAsync(2000);
    type("ね", 0, { isComposing: true });
    await vi.advanceTimersByTimeAsync(2000);
    expect(asked()).toHaveLength(1);
    fields()[0]!.dispatchEvent(new CompositionEvent("compositionend"));
    await vi.advanceTimersByTimeAsync(2000);
    expect(asked().at(-1)!.params.text).toBe("ね");
  });

  it("keeps what is being typed when a result comes, and follows Python otherwise", () => {
    const { type, fields, model, said } = show();
    model.arrive("text", "from python");
    expect(fields()[0]!.value).toBe("from python");
    type("from python and more");
    model.arrive("text", "from elsewhere");
    expect(fields()[0]!.value).toBe("from python and more");
    expect(said()).toContain("Edited.");
    model.arrive("text", "from python and more");
    expect(said()).toContain("Edit it:");
    model.arrive("text", "on it goes");
    expect(fields()[0]!.value).toBe("on it goes");
  });

  it("says what went wrong beside the text, which stays, until it is edited", async () => {
    const { type, press, answer, state, said, box, fields } = show();
    type("bad");
    press("Enter", { ctrlKey: true });
    await answer();
    state("failed", "bad", "the input has 602 tokens");
    expect([said(), box.dataset.run, fields()[0]!.value]).toEqual([
      `the input has 602 tokens. ${EARLIER}`,
      "failed",
      "bad",
    ]);
    type("bad?");
    expect([said().slice(0, 7), box.dataset.run]).toEqual(["Edited.", ""]);
    press("Enter", { ctrlKey: true });
    await answer({ code: "invalid", message: "this view shows one capture" });
    expect([said(), box.dataset.run]).toEqual([`this view shows one capture. ${EARLIER}`, "failed"]);
  });

  it("cancels by Esc and by button, and says when it has", async () => {
    const { type, press, answer, state, said, cancel, asked, box, root, model } = show();
    expect([cancel.hidden, press("Escape").defaultPrevented, asked().length]).toEqual([true, true, 0]);
    type("slow");
    press("Enter", { ctrlKey: true });
    await answer();
    state("running", "slow");
    expect([cancel.hidden, box.dataset.run]).toEqual([false, "running"]);
    press("Escape");
    expect(asked().at(-1)!.method).toBe("cancel");
    await answer();
    state("stopping", "slow");
    expect(said()).toBe(`Stopping … ${EARLIER}`);
    cancel.click();
    expect(asked().map(({ method }) => method)).toEqual(["run", "cancel", "cancel"]);
    await answer();
    state("cancelled", "slow");
    expect(said()).toBe(`Cancelled. ${EARLIER} Ctrl or ⌘ + Enter runs the model.`);
    expect([cancel.hidden, box.dataset.run]).toEqual([true, ""]);
    expect([root.dataset.query, model.traits.layer]).toEqual(["", 1]);
  });

  it("keeps its keys to itself", () => {
    const { press, model } = show();
    for (const key of ["[", "}", "?", "/", "b", "Escape"]) press(key);
    expect([model.traits.layer, model.traits.head]).toEqual([1, 2]);
  });

  it("has a field for each text of a pair", async () => {
    const { fields, type, press, asked, model, box } = show(["who?", "the cat"]);
    expect(fields().map(({ value }) => value)).toEqual(["who?", "the cat"]);
    expect([...box.querySelectorAll("label span")].map((span) => span.textContent)).toEqual([
      "text a",
      "text b",
    ]);
    type("the dog", 1);
    press("Enter", { ctrlKey: true });
    expect(asked()[0]!.params.text).toEqual(["who?", "the dog"]);
    model.arrive("text", "one text");
    expect(fields().map(({ value }) => value)).toEqual(["one text"]);
  });

  it("says that it needs a kernel where there is none", async () => {
    const { said, fields, go, press, asked } = show("the cat", 3, DISCONNECTED);
    await vi.advanceTimersByTimeAsync(600);
    expect(said()).toBe("Editing needs a running kernel: run the cell again.");
    expect([fields()[0]!.readOnly, go.hidden]).toEqual([true, true]);
    press("Enter", { ctrlKey: true });
    await vi.advanceTimersByTimeAsync(0);
    expect(asked()).toEqual([]);
    expect(said()).toBe("Editing needs a running kernel: run the cell again.");
  });

  it("names its fields, and is itself announced", () => {
    const { fields, box } = show();
    expect(fields()[0]!.closest("label")!.textContent).toBe("text");
    expect(box.querySelector("p")!.getAttribute("role")).toBe("status");
  });
});

describe("another capture", () => {
  const meta = (capture: number, tokens: string[]) => {
    const made = { ...TRAITS().meta, capture };
    made.stacks[0]!.examples = [{ queries: words(tokens), keys: null }];
    return made;
  };

  it("is asked about by its number, and takes the place of all that was under the pointer", async () => {
    screen();
    const { model, root } = show();
    model.arrive("meta", meta(1, ["a", "b", "c"]));
    await vi.advanceTimersByTimeAsync(100);
    const token = [...root.querySelectorAll<HTMLElement>('[data-name="text"] .token')].at(-1)!;
    token.dispatchEvent(new MouseEvent("pointermove", { bubbles: true }));
    await vi.advanceTimersByTimeAsync(100);
    expect(root.dataset.query).toBe("2");
    // Of the kernel's turns none is left for questions about what is not shown any more.
    for (const { id } of model.sent as Sent[])
      model.emit("msg:custom", { id, error: { code: "superseded", message: "ask anew" } }, []);
    model.sent.length = 0;
    model.arrive("meta", meta(2, ["x", "y", "z"]));
    expect([root.dataset.query, root.dataset.whole]).toEqual(["", "0,3,0,3"]);
    await vi.advanceTimersByTimeAsync(100);
    const numbers = (model.sent as Sent[]).map(({ capture }) => capture);
    expect(numbers.length).toBeGreaterThan(0);
    expect(new Set(numbers)).toEqual(new Set([2]));
    const tokens = root.querySelectorAll('[data-name="text"] .token');
    expect([...tokens].map(({ textContent }) => textContent)).toEqual(["x", "y", "z"]);
  });
});
