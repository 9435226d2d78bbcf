import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Ramp } from "../src/colour";
import type { Placed } from "../src/datasource";
import { type HeatGeometry, heatGeometry } from "../src/heatgeometry";
import { HeatImage } from "../src/panels/heatimage";
import { Lens } from "../src/panels/lens";
import { minimap } from "../src/panels/minimap";
import { Selection } from "../src/select";
import { computed } from "../src/signals";
import { createStore } from "../src/state";
import type { View } from "../src/view";
import type { Window } from "../src/window";
import { TRAITS, words } from "./helpers";

interface Call {
  name: string;
  at: unknown[];
  fill: unknown;
}

const HATCH = { setTransform() {} };

/** Every call of every canvas there is, in order; a pattern is HATCH. */
function canvases(): Call[] {
  const calls: Call[] = [];
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation((() => {
    const own: Record<string, unknown> = {
      createPattern: () => HATCH,
      createImageData: (width: number, height: number) => {
        calls.push({ name: "createImageData", at: [width, height], fill: null });
        return { data: new Uint8ClampedArray(width * height * 4) };
      },
    };
    return new Proxy(own, {
      get: (target, name: string) =>
        target[name] ?? ((...at: unknown[]) => void calls.push({ name, at, fill: target.fillStyle })),
      set: (target, name: string, value) => {
        target[name] = value;
        return true;
      },
    });
  }) as never);
  return calls;
}

const N = 1024;
const shape = { queries: N, keys: N };
const room = { width: 420, height: 420, left: 10, top: 10, right: 10, bottom: 10 };
const ramp: Ramp = { map: "oslo", scale: "sqrt", range: [0, 1], dark: false };
const geometry = (visible: Window): HeatGeometry => heatGeometry(shape, room, 1, visible);
/** Four tiles of single tokens; that at (0, 256) has a masked cell. */
const tiles: Placed[] = [0, 256].flatMap((q) =>
  [0, 256].map((k) => {
    const codes = new Uint16Array(65536).fill(40000);
    if (q < k) codes[77] = 0;
    return {
      tile: { height: 256, width: 256, codes, max: 65535 },
      queries: [q, q + 256] as [number, number],
      keys: [k, k + 256] as [number, number],
      level: 0,
    };
  }),
);

let calls: Call[];
beforeEach(() => {
  calls = canvases();
});
afterEach(() => {
  vi.restoreAllMocks();
  document.body.replaceChildren();
});
const count = (name: string) => calls.filter((call) => call.name === name).length;

describe("the picture of a head", () => {
  it("is coloured once a tile: a window that moves or zooms in only draws", () => {
    const context = document.createElement("canvas").getContext("2d")!;
    const image = new HeatImage();
    for (let i = 0; i < 20; i++)
      image.draw(context, geometry({ queries: [i, 300 + i], keys: [i / 3, 300 - i] }), tiles, ramp, false);
    expect(count("createImageData")).toBe(4);
    expect(count("drawImage")).toBe(80);
    image.draw(
      context,
      geometry({ queries: [0, 300], keys: [0, 300] }),
      tiles,
      { ...ramp, scale: "log" },
      false,
    );
    expect(count("createImageData")).toBe(8);
  });

  it("draws onto whole pixels, without gaps or overlaps between tiles", () => {
    const context = document.createElement("canvas").getContext("2d")!;
    const covered = new Uint8Array(400 * 400);
    new HeatImage().draw(
      context,
      geometry({ queries: [3.3, 303.7], keys: [100.1, 411] }),
      tiles,
      ramp,
      false,
    );
    for (const { name, at } of calls) {
      if (name !== "drawImage") continue;
      const [x, y, width, height] = at.slice(5) as [number, number, number, number];
      expect([x, y, width, height].every(Number.isInteger)).toBe(true);
      for (let row = y - 10; row < y - 10 + height; row++)
        for (let column = x - 10; column < x - 10 + width; column++) covered[row * 400 + column]!++;
    }
    expect(new Set(covered)).toEqual(new Set([1]));
  });

  it("hatches the ground of tiles with masked cells only, and leaves plain what no tile covers", () => {
    const context = document.createElement("canvas").getContext("2d")!;
    new HeatImage().draw(context, geometry({ queries: [0, 400], keys: [0, 400] }), tiles, ramp, false);
    const fills = calls.filter(({ name, at }) => name === "fillRect" && at.length === 4 && at[2] !== 6);
    expect(fills.map(({ fill, at }) => [fill === HATCH, ...at])).toEqual([
      [false, 10, 10, 400, 400],
      [true, 266, 10, 144, 256],
    ]);
  });
});

describe("the overview", () => {
  function setUp(left = 60) {
    const traits = TRAITS();
    traits.meta.stacks[0]!.examples[0]!.queries = words(Array.from({ length: N }, (_, i) => `t${i}`));
    const store = createStore(traits);
    const select = new Selection(store);
    const plot = computed(() =>
      heatGeometry(store.shown.value, { ...room, left, top: left }, 1, store.visible.value),
    );
    const picture = { value: { tile: tiles[0]!.tile, ramp } };
    const view = { store, picture, dark: { value: false } } as unknown as View;
    const map = minimap(view, new Lens(select, plot));
    document.body.append(map.element);
    const draw = (panel: number) => map.draw(plot.peek(), new HeatImage(), panel);
    const send = (type: string, x: number, y: number) => {
      const event = new PointerEvent(type, { bubbles: true });
      for (const [name, value] of Object.entries({ offsetX: x, offsetY: y, button: 0 }))
        Object.defineProperty(event, name, { value });
      map.element.dispatchEvent(event);
    };
    const { style } = map.element;
    return { store, element: map.element, draw, send, place: () => [style.left, style.top] };
  }

  it("comes when less than half of the head is in sight, beside the plot, else where the axes meet, else over it", () => {
    const { store, element, draw, place } = setUp();
    draw(420);
    expect(element.hidden).toBe(true);
    store.window.value = [0, 800, 0, 800];
    draw(420);
    expect(element.hidden).toBe(true);
    store.window.value = [0, 700, 0, 700];
    draw(600);
    expect([element.hidden, ...place()]).toEqual([false, "428px", "60px"]);
    draw(420);
    expect(place()).toEqual(["0px", "0px"]);
    const narrow = setUp(20);
    narrow.store.window.value = [0, 700, 0, 700];
    narrow.draw(420);
    expect(narrow.place()).toEqual(["368px", "22px"]);
    expect(element.getAttribute("aria-hidden")).toBe("true");
  });

  it("centres the window where it is clicked, and drags it by its frame", () => {
    const { store, draw, send } = setUp();
    store.window.value = [0, 128, 0, 128];
    draw(600);
    send("pointerdown", 60, 90);
    send("pointerup", 60, 90);
    expect(store.window.value).toEqual([704, 832, 448, 576]);
    draw(600);
    send("pointermove", 10, 10);
    expect(store.window.value).toEqual([704, 832, 448, 576]);
    send("pointerdown", 63, 92);
    expect(store.visible.value).toEqual({ queries: [704, 832], keys: [448, 576] });
    send("pointermove", 48, 77);
    send("pointerup", 48, 77);
    expect(store.window.value).toEqual([576, 704, 320, 448]);
  });
});
