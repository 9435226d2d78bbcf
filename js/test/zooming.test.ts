import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Frames } from "../src/frames";
import { type HeatGeometry, heatGeometry, placeAt } from "../src/heatgeometry";
import { dragging } from "../src/panels/dragging";
import { Lens } from "../src/panels/lens";
import { pinching } from "../src/panels/pinching";
import { wheeling, zoomButtons } from "../src/panels/zooming";
import { pointing } from "../src/pointing";
import { Selection } from "../src/select";
import { computed } from "../src/signals";
import type { Pair } from "../src/state";
import { createStore } from "../src/state";
import { TRAITS, words } from "./helpers";

const N = 1000;
const room = { width: 540, height: 540, left: 20, top: 20, right: 20, bottom: 20 };

/** A stage of 500 x 500 pixels at (20, 20) over 1,000 x 1,000 tokens, with the lock that every panel has. */
function setUp() {
  const traits = TRAITS();
  const many = words(Array.from({ length: N }, (_, i) => `t${i}`));
  traits.meta.stacks[0]!.examples[0]!.queries = many;
  const store = createStore(traits);
  const select = new Selection(store);
  const geometry = computed<HeatGeometry | null>(() =>
    heatGeometry(store.shown.value, room, 1, store.visible.value),
  );
  const lens = new Lens(select, geometry);
  const stage = document.createElement("div");
  document.body.append(stage);
  dragging(stage, lens);
  pinching(stage, lens);
  const engaged = wheeling(stage, lens);
  pointing<Pair>(stage, new Frames(), {
    at: ({ offsetX, offsetY }) => ({
      query: Math.floor(placeAt(geometry.peek()!, "queries", offsetY)),
      key: Math.floor(placeAt(geometry.peek()!, "keys", offsetX)),
    }),
    hover: () => {},
    lock: (pair) => select.lock(pair),
    arrow: () => {},
    current: () => null,
  });
  /** Sends an event with the fields given, which the test's DOM does not all know. */
  const send = (event: Event, fields: object = {}) => {
    for (const [name, value] of Object.entries(fields)) Object.defineProperty(event, name, { value });
    stage.dispatchEvent(event);
    return event;
  };
  const flags = { bubbles: true, cancelable: true };
  const pointer = (type: string, x: number, y: number, fields: object = {}) =>
    send(new PointerEvent(type, flags), {
      offsetX: x,
      offsetY: y,
      button: 0,
      buttons: 1,
      pointerType: "mouse",
      ...fields,
    });
  return {
    store,
    select,
    lens,
    stage,
    engaged,
    pointer,
    wheel: (deltaY: number, x = 270, y = 270, fields: object = {}) =>
      send(new WheelEvent("wheel", flags), {
        deltaX: 0,
        deltaY,
        deltaMode: 0,
        offsetX: x,
        offsetY: y,
        ...fields,
      }),
    click: (x: number, y: number, detail = 1) => {
      pointer("pointerdown", x, y);
      pointer("pointerup", x, y);
      send(new MouseEvent("click", flags), { offsetX: x, offsetY: y, detail });
    },
    doubleClick(x: number, y: number) {
      this.click(x, y, 1);
      this.click(x, y, 2);
      send(new MouseEvent("dblclick", flags), { offsetX: x, offsetY: y });
    },
    key: (key: string, fields: object = {}) =>
      send(new KeyboardEvent("keydown", { ...flags, key, ...fields })),
    window: () => [...store.visible.value.queries, ...store.visible.value.keys].map((end) => Math.round(end)),
  };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("a wheel", () => {
  it("scrolls the page, unless the heatmap was clicked; Esc gives it back", () => {
    const { wheel, click, key, window, engaged } = setUp();
    expect(wheel(-100).defaultPrevented).toBe(false);
    expect(window()).toEqual([0, N, 0, N]);
    click(270, 270);
    expect(engaged.value).toBe(true);
    expect(wheel(-100).defaultPrevented).toBe(true);
    expect(window()).not.toEqual([0, N, 0, N]);
    key("Escape");
    expect(wheel(-100).defaultPrevented).toBe(false);
  });

  it("is given back when the focus goes elsewhere", () => {
    const { wheel, click, stage } = setUp();
    click(270, 270);
    stage.dispatchEvent(new FocusEvent("focusout"));
    expect(wheel(-100).defaultPrevented).toBe(false);
  });

  it.each([{ ctrlKey: true }, { metaKey: true }])("zooms at the pointer with %o", (held) => {
    const { wheel, lens } = setUp();
    const before = [
      placeAt(lens.geometry.peek()!, "queries", 120),
      placeAt(lens.geometry.peek()!, "keys", 420),
    ];
    for (let i = 0; i < 5; i++) expect(wheel(-100, 420, 120, held).defaultPrevented).toBe(true);
    const after = [
      placeAt(lens.geometry.peek()!, "queries", 120),
      placeAt(lens.geometry.peek()!, "keys", 420),
    ];
    expect(after[0]).toBeCloseTo(before[0]!, 6);
    expect(after[1]).toBeCloseTo(before[1]!, 6);
    expect(lens.window.keys[1] - lens.window.keys[0]).toBeCloseTo(250, 6);
  });

  it("never zooms the page where the heatmap cannot go on", () => {
    const { wheel, window } = setUp();
    expect(wheel(100, 270, 270, { ctrlKey: true }).defaultPrevented).toBe(true);
    expect(window()).toEqual([0, N, 0, N]);
  });

  it("at the whole head scrolls the page again, but not in one go", () => {
    const { wheel, click } = setUp();
    click(270, 270);
    wheel(-100, 270, 270, { timeStamp: 1000 });
    expect(wheel(300, 270, 270, { timeStamp: 1100 }).defaultPrevented).toBe(true);
    expect(wheel(100, 270, 270, { timeStamp: 1200 }).defaultPrevented).toBe(true);
    expect(wheel(100, 270, 270, { timeStamp: 1800 }).defaultPrevented).toBe(false);
  });

  it("goes sideways with Shift", () => {
    const { wheel, click, select, window } = setUp();
    select.look({ queries: [100, 200], keys: [100, 200] });
    click(270, 270);
    wheel(50, 270, 270, { shiftKey: true });
    expect(window()).toEqual([100, 200, 110, 210]);
  });

  it("writes the trait once, after it has come to rest, as whole tokens", () => {
    const { wheel, store } = setUp();
    for (let i = 0; i < 5; i++) wheel(-100, 420, 120, { ctrlKey: true });
    expect(store.window.value).toBeNull();
    expect(store.draftWindow.value).not.toBeNull();
    vi.advanceTimersByTime(300);
    expect(store.draftWindow.value).toBeNull();
    expect(store.window.value).toEqual([150, 400, 600, 850]);
  });
});

describe("a drag", () => {
  it("moves a window along, commits it at the end, and locks nothing", () => {
    const { pointer, select, store, stage, window } = setUp();
    select.look({ queries: [100, 200], keys: [300, 400] });
    pointer("pointerdown", 270, 270);
    pointer("pointermove", 320, 220);
    expect(window()).toEqual([110, 210, 290, 390]);
    expect(stage.className).toBe("panning");
    pointer("pointerup", 320, 220);
    stage.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    expect(store.window.value).toEqual([110, 210, 290, 390]);
    expect(store.locked.value).toEqual({ query: null, key: null });
    expect(stage.className).toBe("");
  });

  it("of up to 4 pixels is a click, and on the whole head there is nothing to drag", () => {
    const { pointer, click, select, store, window } = setUp();
    click(270, 70);
    expect(store.locked.value).toEqual({ query: 100, key: 500 });
    select.look({ queries: [100, 200], keys: [300, 400] });
    pointer("pointerdown", 270, 270);
    pointer("pointermove", 273, 272);
    pointer("pointerup", 273, 272);
    expect(window()).toEqual([100, 200, 300, 400]);
    select.lookAll();
    pointer("pointerdown", 270, 270);
    pointer("pointermove", 300, 272);
    pointer("pointerup", 300, 272);
    expect(window()).toEqual([0, N, 0, N]);
  });

  it("ends where its button is no longer held, though nobody said so", () => {
    const { pointer, select, window } = setUp();
    select.look({ queries: [100, 200], keys: [300, 400] });
    pointer("pointerdown", 518, 300);
    pointer("pointermove", 300, 300, { buttons: 0 });
    expect(window()).toEqual([100, 200, 300, 400]);
  });

  it("with Shift draws a box and zooms to it", () => {
    const { pointer, store, stage } = setUp();
    pointer("pointerdown", 120, 70, { shiftKey: true });
    pointer("pointermove", 170, 120, { shiftKey: true });
    const box = stage.querySelector<HTMLElement>(".box")!;
    expect([box.hidden, box.style.left, box.style.top, box.style.width, box.style.height]).toEqual([
      false,
      "120px",
      "70px",
      "50px",
      "50px",
    ]);
    pointer("pointerup", 170, 120, { shiftKey: true });
    expect(box.hidden).toBe(true);
    expect(store.window.value).toEqual([100, 200, 200, 300]);
  });

  it("is taken back by Esc, which leaves the lock", () => {
    const { pointer, click, key, select, store, window } = setUp();
    click(270, 70);
    select.look({ queries: [100, 200], keys: [300, 400] });
    pointer("pointerdown", 270, 270);
    pointer("pointermove", 370, 270);
    expect(window()).toEqual([100, 200, 280, 380]);
    key("Escape");
    pointer("pointermove", 420, 270);
    expect(window()).toEqual([100, 200, 300, 400]);
    expect(store.locked.value).toEqual({ query: 100, key: 500 });
  });
});

describe("a double click", () => {
  it("zooms in at the pointer and leaves what was locked as it was", () => {
    const view = setUp();
    view.doubleClick(120, 320);
    expect(view.store.locked.value).toEqual({ query: null, key: null });
    expect(view.store.window.value).toEqual([300, 800, 100, 600]);
    view.click(270, 270);
    const { locked } = view.store;
    const before = locked.value;
    expect(before).toEqual({ query: 550, key: 350 });
    view.doubleClick(270, 270);
    expect(locked.value).toEqual(before);
    view.doubleClick(300, 300);
    expect(locked.value).toEqual(before);
  });
});

describe("two fingers", () => {
  it("spread: what is under them stays under them; one finger leaves the window alone", () => {
    const { pointer, store, window } = setUp();
    const finger = (type: string, pointerId: number, x: number, y: number) =>
      pointer(type, x, y, { pointerId, pointerType: "touch" });
    finger("pointerdown", 1, 170, 270);
    finger("pointermove", 1, 190, 270);
    expect(window()).toEqual([0, N, 0, N]);
    finger("pointermove", 1, 170, 270);
    finger("pointerdown", 2, 370, 270);
    finger("pointermove", 2, 370, 270);
    finger("pointermove", 1, 70, 270);
    finger("pointermove", 2, 470, 270);
    expect(window()).toEqual([250, 750, 250, 750]);
    finger("pointermove", 1, 170, 270);
    finger("pointermove", 2, 570, 270);
    expect(window()).toEqual([250, 750, 150, 650]);
    finger("pointerup", 2, 570, 270);
    expect(store.window.value).toEqual([250, 750, 150, 650]);
    finger("pointermove", 1, 20, 20);
    expect(window()).toEqual([250, 750, 150, 650]);
  });
});

describe("keys and buttons", () => {
  it("zoom around the focus if it is in sight, else around the middle", () => {
    const { key, click, store } = setUp();
    key("+");
    expect(store.window.value).toEqual([250, 750, 250, 750]);
    click(120, 320);
    expect(store.locked.value).toEqual({ query: 550, key: 350 });
    key("=");
    expect(store.window.value).toEqual([400, 650, 300, 550]);
    key("-");
    key("-");
    expect(store.window.value).toBeNull();
    key("+");
    key("0");
    expect(store.window.value).toBeNull();
  });

  it("leave the browser's own zoom alone", () => {
    const { key, store } = setUp();
    expect(key("+", { ctrlKey: true }).defaultPrevented).toBe(false);
    expect(key("0", { metaKey: true }).defaultPrevented).toBe(false);
    expect(store.window.value).toBeNull();
  });

  it("are named, and off where they would do nothing", () => {
    const { lens, store } = setUp();
    const { element, stop } = zoomButtons(lens);
    const [farther, closer, all] = element.querySelectorAll("button") as unknown as HTMLButtonElement[];
    const states = () => [farther!.disabled, closer!.disabled, all!.disabled];
    expect([farther, closer, all].map((b) => b!.getAttribute("aria-label"))).toEqual([
      "Zoom out, key -",
      "Zoom in, key +",
      "Show the whole head, key 0",
    ]);
    expect(states()).toEqual([true, false, true]);
    closer!.click();
    expect(store.window.value).toEqual([250, 750, 250, 750]);
    expect(states()).toEqual([false, false, false]);
    for (let i = 0; i < 9; i++) closer!.click();
    expect(states()).toEqual([false, true, false]);
    all!.click();
    expect(store.window.value).toBeNull();
    stop();
  });
});
