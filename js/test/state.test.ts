import { afterEach, describe, expect, it, vi } from "vitest";
import { connect } from "../src/bridge";
import { onKeys } from "../src/keyboard";
import { Selection } from "../src/select";
import { effect } from "../src/signals";
import { createStore } from "../src/state";
import type { View } from "../src/view";
import { fakeModel, store, TRAITS, turn } from "./helpers";

afterEach(() => {
  vi.useRealTimers();
});

describe("the bridge", () => {
  it("sends a change of the page once, and not what came from the kernel", async () => {
    const model = fakeModel();
    const s = store();
    connect(model, s);
    expect(model.saved).toBe(0);
    s.layer.value = 2;
    s.head.value = 0;
    await turn();
    expect([model.traits.layer, model.traits.head, model.saved]).toEqual([2, 0, 1]);
    model.arrive("query", 1);
    await turn();
    expect([s.query.value, model.saved]).toEqual([1, 1]);
  });

  it("takes an echo with equal content for no change", async () => {
    const model = fakeModel();
    const s = store();
    connect(model, s);
    let seen = 0;
    effect(() => {
      void s.panels.value;
      seen++;
    });
    model.arrive("panels", [...s.panels.value]);
    await turn();
    expect([seen, model.saved]).toEqual([1, 0]);
  });

  it("keeps the page's state when the kernel is gone", async () => {
    const model = fakeModel();
    model.save_changes = () => {
      throw new Error("no comm");
    };
    const s = store();
    connect(model, s);
    s.layer.value = 0;
    await turn();
    expect(s.lockedHead.value.layer).toBe(0);
  });

  it("stops when disposed", async () => {
    const model = fakeModel();
    const s = store();
    connect(model, s)();
    model.arrive("layer", 0);
    s.head.value = 0;
    await turn();
    expect([s.layer.value, model.saved]).toEqual([1, 0]);
  });
});

describe("the store", () => {
  it("shows the hover, else the lock", () => {
    const s = store();
    s.query.value = 1;
    expect(s.focus.value).toEqual({ query: 1, key: null });
    s.hoverPair.value = { query: 0, key: 2, panel: "heatmap" };
    expect(s.focus.value).toMatchObject({ query: 0, key: 2 });
    s.hoverHead.value = { layer: 0, head: 0 };
    expect(s.shownHead.value).toMatchObject({ layer: 0, head: 0 });
    expect(s.lockedHead.value).toMatchObject({ layer: 1, head: 2 });
  });

  it("keeps heads and tokens inside the stack shown", () => {
    const s = createStore({ ...TRAITS(), query: 2, layer: 2, head: 3 });
    s.stack.value = "cross";
    expect(s.lockedHead.value).toEqual({ stack: "cross", batch: 0, layer: 0, head: 1 });
    expect(s.locked.value).toEqual({ query: null, key: null });
    expect([s.shown.value.queries, s.shown.value.keys]).toEqual([1, 2]);
  });
});

describe("the selection", () => {
  it("locks, and releases with the same click again", () => {
    const s = store();
    const select = new Selection(s);
    select.lock({ query: 1, key: 2 });
    expect(s.locked.value).toEqual({ query: 1, key: 2 });
    select.lock({ query: 1, key: null });
    expect(s.locked.value).toEqual({ query: 1, key: null });
    select.lock({ query: 1, key: null });
    expect(s.locked.value).toEqual({ query: null, key: null });
  });

  it("falls back to the lock after a grace, not between two tokens", () => {
    vi.useFakeTimers();
    const s = store();
    const select = new Selection(s);
    select.lock({ query: 2, key: null });
    select.hover({ query: 0, key: null }, "text");
    select.hover(null, "text");
    vi.advanceTimersByTime(100);
    expect(s.focus.value.query).toBe(0);
    select.hover({ query: 1, key: null }, "text");
    vi.advanceTimersByTime(500);
    expect(s.focus.value.query).toBe(1);
    select.hover(null, "text");
    vi.advanceTimersByTime(120);
    expect(s.focus.value.query).toBe(2);
  });

  it("writes no trait on hover", async () => {
    const model = fakeModel();
    const s = store();
    connect(model, s);
    const select = new Selection(s);
    select.hover({ query: 0, key: 1 }, "heatmap");
    select.hoverHead({ layer: 0, head: 0 });
    await turn();
    expect(model.saved).toBe(0);
  });

  it("steps to neighbours and stops at the ends", () => {
    const s = store();
    const select = new Selection(s);
    select.step(0, 1);
    select.step(0, 1);
    select.step(5, 0);
    expect(s.lockedHead.value).toMatchObject({ layer: 2, head: 3 });
  });
});

describe("a hover", () => {
  it("that one view has left is not taken from another view that has it by then", () => {
    vi.useFakeTimers();
    const s = store();
    const [first, second] = [new Selection(s), new Selection(s)];
    first.hover({ query: 0, key: 0 }, "heatmap");
    first.hover(null, "heatmap");
    second.hover({ query: 2, key: 1 }, "heatmap");
    vi.advanceTimersByTime(1000);
    expect(s.focus.value).toEqual({ query: 2, key: 1 });
    second.hover(null, "heatmap");
    vi.advanceTimersByTime(1000);
    expect(s.hoverPair.value).toBeNull();
  });

  it("of a token stays while keys walk the heads, a preview of a head ends", () => {
    const s = store();
    const select = new Selection(s);
    const root = document.createElement("div");
    onKeys(root, { select } as View, {});
    select.hover({ query: 1, key: 2 }, "heatmap");
    select.hoverHead({ layer: 0, head: 0 });
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "]" }));
    expect(s.focus.value).toEqual({ query: 1, key: 2 });
    expect(s.shownHead.value).toMatchObject({ layer: 1, head: 3 });
  });
});
