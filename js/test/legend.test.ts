import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { encode, type Tile } from "../src/codes";
import { colourAt } from "../src/colour";
import * as counting from "../src/counts";
import type { HeadRef } from "../src/datasource";
import { CODE_MAX_U16 } from "../src/protocol";
import { words } from "./helpers";
import { frame, madeUp, screen, view } from "./screen";

const N = 10;
const WIDTH = 200;

function tile(weight: (query: number, key: number) => number): Tile {
  const codes = Uint16Array.from({ length: N * N }, (_, i) =>
    encode(weight(Math.floor(i / N), i % N), CODE_MAX_U16),
  );
  return { height: N, width: N, codes, max: CODE_MAX_U16 };
}

/** A causal head: the first key is a sink, the key before gets 0.1, the others next to nothing or nothing. */
const sunk = (q: number, k: number) =>
  k > q ? Number.NaN : k === 0 ? 0.8 : k === q - 1 ? 0.1 : k % 2 ? 0 : 0.001;

const NAMES = Array.from({ length: N }, (_, i) => (i ? `w${i}` : "[CLS]"));

const unmounts: (() => void)[] = [];

async function legend(traits = {}, weight = sunk) {
  const picture = tile(weight);
  const asked: HeadRef[] = [];
  const made = madeUp({ queries: N, keys: N }, weight);
  const source = {
    ...made,
    detail: (ref: HeadRef) => {
      asked.push(ref);
      return picture;
    },
    placed: () => [{ tile: picture, queries: [0, N] as [number, number], keys: [0, N] as [number, number] }],
  };
  const shown = await view({ queries: words(NAMES) }, source, traits);
  unmounts.push(shown.unmount);
  const choose = (index: number, value: string) => {
    const select = shown.all(".choices select")[index] as HTMLSelectElement;
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  const said = () => shown.one(".words").textContent;
  const swatches = () => shown.all(".swatch:not([hidden])").map((each) => each.textContent);
  const numbers = () => shown.all(".ends span").map((each) => each.textContent);
  const handles = shown.all(".end") as [HTMLElement, HTMLElement];
  const pointer = (handle: HTMLElement, name: string, t = 0) =>
    handle.dispatchEvent(new PointerEvent(name, { clientX: 50 + t * WIDTH, bubbles: true }));
  return { ...shown, asked, choose, said, swatches, numbers, handles, pointer };
}

beforeEach(() => {
  screen();
  vi.spyOn(HTMLElement.prototype, "getBoundingClientRect").mockReturnValue(new DOMRect(50, 0, WIDTH, 10));
});

afterEach(() => {
  for (const unmount of unmounts.splice(0)) unmount();
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("the words of the legend", () => {
  it("name scale, range and what is clipped", async () => {
    const { said, numbers, swatches, one } = await legend();
    expect(said()).toBe(
      "weight after softmax, sqrt scale · range of this head 0 – 0.1 · clipped above, up to 0.8",
    );
    expect(numbers()).toEqual(["0", "0.025", "0.1"]);
    expect(swatches()).toEqual(["zero", "not allowed by the mask"]);
    expect(one(".above").hidden).toBe(false);
  });

  it("say that a range is fixed, and then leave nothing out", async () => {
    const { said, all, store } = await legend({ domain: [0.01, 0.5] });
    expect(said()).toBe(
      "weight after softmax, sqrt scale · fixed range 0.01 – 0.5 · clipped above, up to 0.8",
    );
    const range = all(".choices select")[2] as HTMLSelectElement;
    expect([...range.options].map((each) => each.textContent)).toEqual([
      "auto",
      "fit to sight",
      "fixed 0 – 1",
      "fixed 0.01 – 0.5",
    ]);
    expect(range.value).toBe("fixed");
    all(".choices .auto")[0]!.click();
    expect(store.domain.value).toBeNull();
    expect(all(".choices .auto:not([hidden])")).toEqual([]);
  });

  it("show zero, masked and missing only where there are some", async () => {
    expect((await legend({}, () => 0.1)).swatches()).toEqual([]);
    const { swatches, all } = await legend({ stack: "self" }, (_, k) => (k ? 0.1 : 0));
    expect(swatches()).toEqual(["zero"]);
    expect(all(".swatch")[0]!.style.getPropertyValue("--fill")).toBe(`rgb(${colourAt(0, "oslo", false)})`);
  });
});

describe("quantiles", () => {
  it("print weights that there are at both ends and in the middle", async () => {
    const { numbers, said } = await legend({ scale: "quantile" });
    // Of 16 + 8 + 10 weights above zero the lowest, one with half as many below it as the highest, and the highest.
    expect(numbers()).toEqual(["0.001", "0.001", "0.8"]);
    expect(said()).toBe("weight after softmax, quantile scale · range of this head 0 – 0.8");
  });
});

describe("the histogram", () => {
  const heights = (shape: HTMLElement) =>
    shape.style.clipPath
      .match(/polygon\((.*)\)/)![1]!
      .split(",")
      .slice(1, -1)
      .filter((_, i) => i % 2 === 0)
      .map((point) => 100 - Number.parseFloat(point.trim().split(" ")[1]!));

  it("stands over the colours of the weights, as high as the logarithm of how many there are", async () => {
    const { one } = await legend();
    const found = heights(one(".histogram"));
    const place = (weight: number) => Math.min(47, Math.floor(Math.sqrt(weight / 0.1) * 48));
    const cells = Array.from({ length: N * N }, (_, i) => sunk(Math.floor(i / N), i % N)).filter(
      (w) => w > 0,
    );
    const expected = new Array(48).fill(0);
    for (const weight of cells) expected[weight === 0.001 ? place(weight) : 47]++;
    const top = Math.log1p(Math.max(...expected));
    expected.forEach((n, i) => {
      expect(found[i]).toBeCloseTo((100 * Math.log1p(n)) / top, 0);
    });
  });

  it("is counted for the window that is in sight, and costs a hover over tokens nothing", async () => {
    const count = vi.spyOn(counting, "count");
    const { one, store } = await legend();
    const before = one(".histogram").style.clipPath;
    const calls = count.mock.calls.length;
    const painted = vi.spyOn(CSSStyleDeclaration.prototype, "setProperty");
    for (let q = 0; q < N; q++) store.hoverPair.value = { query: q, key: 0, panel: "heatmap" };
    expect(count.mock.calls.length).toBe(calls);
    expect(painted).not.toHaveBeenCalled();
    store.window.value = [0, 3, 0, 3];
    expect(one(".histogram").style.clipPath).not.toBe(before);
    // While a gesture is on, nothing is counted.
    const rested = one(".histogram").style.clipPath;
    store.draftWindow.value = { queries: [4, 9], keys: [0, 5] };
    expect(one(".histogram").style.clipPath).toBe(rested);
  });
});

describe("the ends of the bar", () => {
  it("are sliders with names and values", async () => {
    const { handles } = await legend();
    const read = (name: string) => handles.map((each) => each.getAttribute(name));
    expect(read("role")).toEqual(["slider", "slider"]);
    expect(read("aria-label")).toEqual(["Lower end of the colours", "Upper end of the colours"]);
    expect(read("aria-valuetext")).toEqual(["0", "0.1"]);
    expect(read("aria-valuemin")).toEqual(["0", "0"]);
    expect(read("aria-valuemax")).toEqual(["1", "1"]);
    expect(handles.map((each) => [each.tabIndex, each.style.left])).toEqual([
      [0, "0%"],
      [0, "100%"],
    ]);
  });

  it("are dragged on a bar that stays, shown at once and committed on release", async () => {
    const { handles, pointer, store, root, numbers, one } = await legend();
    const [, upper] = handles;
    pointer(upper, "pointermove", 0.5);
    expect(store.range.value).toBeNull();
    pointer(upper, "pointerdown", 1);
    pointer(upper, "pointermove", 0.5);
    // Half of a sqrt bar up to 0.1.
    expect(store.draftDomain.value).toEqual([0, expect.closeTo(0.025, 3)]);
    expect([store.domain.value, root.dataset.domain]).toEqual([null, store.draftDomain.value!.join()]);
    expect([numbers()[2], Number.parseFloat(upper.style.left)]).toEqual(["0.1", expect.closeTo(50, 2)]);
    const ramp = one(".bar").style.getPropertyValue("--ramp").split("),rgb");
    const last = ramp.at(-1)!.slice(0, -1);
    expect(last).toBe(`(${colourAt(1, "oslo", false)}`);
    // All above the new end, half of the bar, has the last colour.
    expect(ramp.filter((each) => each === last).length).toBeGreaterThan(10);
    pointer(upper, "pointerup");
    expect(store.domain.value).toEqual([0, expect.closeTo(0.025, 3)]);
    expect([store.draftDomain.value, numbers()[2], upper.style.left]).toEqual([null, "0.025", "100%"]);
    pointer(upper, "dblclick");
    expect(store.domain.value).toBeNull();
  });

  it("go beyond the bar, stop at each other, and stay between 0 and 1", async () => {
    const { handles, pointer, store } = await legend({ scale: "linear" });
    const [lower, upper] = handles;
    const drag = (handle: HTMLElement, t: number) => {
      pointer(handle, "pointerdown");
      pointer(handle, "pointermove", t);
      pointer(handle, "lostpointercapture");
      return store.domain.value!;
    };
    expect(drag(upper, 3)[1]).toBeCloseTo(0.3, 3);
    expect(drag(upper, 99)[1]).toBe(1);
    expect(drag(lower, -5)[0]).toBe(0);
    const [low, high] = drag(lower, 1.5);
    expect(low).toBeLessThan(high);
    expect(low).toBeGreaterThan(0.9);
    expect(drag(upper, -2)[1]).toBeGreaterThan(low);
  });

  it("move by arrow keys, five times as far with Shift", async () => {
    const { handles, store } = await legend({ scale: "linear", domain: [0, 0.5] });
    const press = (handle: HTMLElement, key: string, shiftKey = false) => {
      const event = new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true });
      handle.dispatchEvent(event);
      return event.defaultPrevented;
    };
    expect(press(handles[1], "ArrowLeft")).toBe(true);
    expect(store.domain.value).toEqual([0, 0.49]);
    press(handles[0], "ArrowUp", true);
    expect(store.domain.value).toEqual([0.049, 0.49]);
    expect(press(handles[0], "a")).toBe(false);
  });
});

describe("lift", () => {
  it("is asked for by name, coloured around chance, and said with its unit", async () => {
    const { store, asked, said, numbers, choose, handles, all, one } = await legend({
      domain: [0, 0.5],
      query: 3,
      key: 2,
    });
    expect(asked.at(-1)!.measure).toBeUndefined();
    choose(0, "lift");
    expect([store.measure.value, store.domain.value]).toEqual(["lift", null]);
    expect(asked.at(-1)!.measure).toBe("lift");
    // The range of the head, 0.1, times ten keys is 1: at least three octaves on either side of chance are shown.
    expect(said()).toBe(
      "lift over uniform, log scale: 1 = as much as by chance · range of this head 0.13 – 8",
    );
    expect(numbers()).toEqual(["≤ 0.13", "1", "8"]);
    expect(one(".bar").style.getPropertyValue("--ramp")).toContain(`rgb(${colourAt(0.5, "vik", false)})`);
    const names = (select: Element) => [...(select as HTMLSelectElement).options].map((each) => each.value);
    const open = all(".choices label:not([hidden]) select");
    expect(open.map(names)).toEqual([
      ["weight", "lift", "rollout"],
      ["auto", "sight"],
      ["auto", "vik", "berlin"],
    ]);
    choose(3, "berlin");
    expect([store.diverging.value, store.colormap.value]).toEqual(["berlin", "oslo"]);
    handles[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", shiftKey: true }));
    const [low, high] = store.domain.value!;
    expect(low * high).toBeCloseTo(1, 12);
    expect(high).toBeGreaterThan(8);
    expect(handles[1].getAttribute("aria-valuetext")).toBe("10 × uniform");
    await frame();
    expect(one(".readout strong").textContent).toBe("1.00 × uniform");
    choose(2, "sight");
    expect(store.domain.value).toEqual([1 / 8, 8]);
  });
});
