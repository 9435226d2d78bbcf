import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { encode, type Tile } from "../src/codes";
import { colourAt, lookup } from "../src/colour";
import { formatCell, formatShare } from "../src/format";
import { CODE_MAX_U16, type MeasureMeta } from "../src/protocol";
import { rampOf } from "../src/ramp";
import { liftOf, readingOf, WEIGHTS } from "../src/reading";
import { createStore } from "../src/state";
import { TRAITS, words } from "./helpers";
import { frame, madeUp, screen, view } from "./screen";

const told = { words: "gradient x attention (Serrano and Smith 2019)", caution: "To first order." };
const signed = { ...told, unit: 4, signed: true };
const N = 4;

/** What Python sends: see tests/attention/test_reading.py, which has the same numbers. */
const SENT: [number, number][] = [
  [4, 1],
  [1, 0.43976810574531555],
  [0, 2 ** -16],
  [-1, 5.294396032695659e-10],
  [-4, 2 ** -32],
];

describe("a reading", () => {
  it("has the numbers that Python has", () => {
    const { of, share } = readingOf(signed);
    for (const [number, sent] of SENT) {
      expect(of(sent)).toBeCloseTo(number, 5);
      expect(share(number) / sent).toBeCloseTo(1, 5);
    }
    expect(of(0)).toBeCloseTo(-4, 9);
  });

  it.each([WEIGHTS, liftOf(12), readingOf({ ...told, unit: 30 }), readingOf(signed)])(
    "goes there and back: $kind",
    ({ of, share }) => {
      for (const one of [1e-6, 1e-3, 0.2, 0.9, 1]) expect(share(of(one))).toBeCloseTo(one, 9);
    },
  );

  it("is printed with its sign, and lift with its unit", () => {
    const reading = readingOf(signed);
    expect(formatCell(reading.share(-0.25), true, reading)).toBe("−0.250");
    expect(formatShare(reading.share(-0.25), reading)).toBe("−0.25");
    expect(formatCell(0.5, false, readingOf({ ...told, unit: 30 }))).toBe("≈ 15.0");
    expect(formatShare(0.5, liftOf(12))).toBe("6 × uniform");
  });
});

function tile(numbers: number[], share: (number: number) => number): Tile {
  const codes = Uint16Array.from(numbers, (number) =>
    Number.isNaN(number) ? 0 : encode(share(number), CODE_MAX_U16),
  );
  return { height: N, width: N, codes, max: CODE_MAX_U16 };
}

const NUMBERS = [1, Number.NaN, 0, -0.5, 0.25, -2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

describe("signed numbers", () => {
  const store = () => {
    const made = TRAITS();
    const meta = { ...made.meta, stacks: [{ ...made.meta.stacks[0]!, measure: signed }] };
    return createStore({ ...made, meta } as never);
  };

  it("have a range also where the model overflowed, or the mask forbids all of them", () => {
    const { share, of } = readingOf(signed);
    const none = tile(
      NUMBERS.map(() => Number.NaN),
      share,
    );
    expect(rampOf(store(), none, false).range.map(of)).toEqual([
      expect.closeTo(-signed.unit, 3),
      expect.closeTo(signed.unit, 3),
    ]);
  });

  it("have 0 in the middle of the colours, and are even on both sides of it", () => {
    const { share, of } = readingOf(signed);
    const ramp = rampOf(store(), tile(NUMBERS, share), false);
    expect(ramp.range.map(of)).toEqual([expect.closeTo(-2, 3), expect.closeTo(2, 3)]);
    const colours = lookup(CODE_MAX_U16, ramp, 0, 0);
    const at = (number: number) => colours[encode(share(number), CODE_MAX_U16)]!;
    for (const [number, t] of [
      [-2, 0],
      [-1, 0.25],
      [0, 0.5],
      [1, 0.75],
      [2, 1],
    ] as const) {
      const [red, green, blue] = colourAt(t, "vik", false);
      const near = [at(number) & 255, (at(number) >> 8) & 255, (at(number) >> 16) & 255];
      expect(Math.max(...[red, green, blue].map((c, i) => Math.abs(c - near[i]!)))).toBeLessThan(6);
    }
  });
});

describe("a view of another measure", () => {
  const unmounts: (() => void)[] = [];
  beforeEach(() => {
    screen();
  });
  afterEach(() => {
    for (const unmount of unmounts.splice(0)) unmount();
    document.body.replaceChildren();
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });

  const shown = async (measure: MeasureMeta, traits = {}) => {
    const { share } = readingOf(measure);
    const picture = tile(NUMBERS, share);
    const source = {
      ...madeUp({ queries: N, keys: N }, (q, k) => share(NUMBERS[q * N + k]!)),
      detail: () => picture,
      placed: () => [
        { tile: picture, queries: [0, N] as [number, number], keys: [0, N] as [number, number] },
      ],
    };
    const made = await view({ queries: words(["a", "b", "c", "d"]) }, source, traits);
    unmounts.push(made.unmount);
    made.store.meta.value = {
      ...made.store.meta.value,
      stacks: [{ ...made.store.meta.value.stacks[0]!, measure }],
    };
    await frame();
    return made;
  };

  it("says what it is, who defined it, and what it can show", async () => {
    const { one, all, store } = await shown(signed, { query: 0, key: 3, measure: "gradient" });
    expect(one(".words").textContent).toBe(
      "gradient x attention (Serrano and Smith 2019), linear scale · range of this head −2 to 2",
    );
    expect(all(".ends span").map((each) => each.textContent)).toEqual(["−2", "0", "2"]);
    expect(one(".readout strong").textContent).toBe("−0.500");
    expect(all(".sinks span")).toEqual([]);
    // Lines and arcs are of what is above 0.
    const notes = all(".note").map((each) => each.textContent);
    expect(notes).toContainEqual(expect.stringContaining("≥ 0"));
    store.threshold.value = readingOf(signed).share(0.5);
    await frame();
    expect(one('[data-name="lines"] input[type="number"]')).toHaveProperty("value", "0.5");
  });

  it("is called a layer where it belongs to one, and has no numbers of heads", async () => {
    const { one, all, store } = await shown(
      { ...signed, whole: true },
      { query: 0, key: 3, measure: "gradient" },
    );
    const { stacks, ...rest } = store.meta.value;
    store.meta.value = { ...rest, stacks: [{ ...stacks[0]!, heads: 1 }] };
    await frame();
    expect(one(".words").textContent).toContain("range of this layer −2 to 2");
    expect(all(".stepper").map((each) => each.hidden)).toEqual([false, true]);
    expect(one(".heads").hidden).toBe(true);
    store.aggregate.value = "mean";
    store.over.value = "layers";
    await frame();
    expect(one(".words").textContent).toContain(`mean of all ${stacks[0]!.layers} layers`);
    expect(one(".words").textContent).toContain("range of these layers");
  });

  it("is named with the number to those who cannot see the legend", async () => {
    const { one } = await shown(signed, { query: 0, key: 3, measure: "gradient" });
    await vi.waitFor(() =>
      expect(one('.hidden[aria-live="polite"]').textContent).toMatch(/, gradient −0.500$/),
    );
  });

  it("moves the ends of its range together", async () => {
    const { all, store } = await shown(signed, { measure: "gradient" });
    const upper = all(".end")[1]!;
    upper.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", shiftKey: true }));
    const [low, high] = store.domain.value!;
    expect(low).toBe(-high);
    expect(high).toBeCloseTo(1.6, 2);
    expect(upper.getAttribute("aria-valuetext")).toBe("1.6");
  });

  it("offers what there is, and says why there is no more", async () => {
    const { one, all, store } = await shown(signed);
    store.measure.value = "weight";
    const select = one(".choices select") as HTMLSelectElement;
    const rollout = [...select.options].find(({ value }) => value === "rollout")!;
    expect([rollout.disabled, rollout.title]).toEqual([true, "layers 0 to 2 were left out"]);
    one(".measure .info").click();
    expect(all("dialog[open] dl > *").map((each) => each.textContent)).toEqual([
      "attention weight",
      "Where a head looked.",
      "attention rollout: not here",
      "layers 0 to 2 were left out",
    ]);
    select.value = "lift";
    select.dispatchEvent(new Event("change"));
    expect([store.measure.value, store.domain.value]).toEqual(["lift", null]);
  });
});
