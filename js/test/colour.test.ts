import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { decodeTable, encode } from "../src/codes";
import { colourAt, inkOn, lookup, pack, positions, signed, weightAt } from "../src/colour";
import { COLORMAPS, SCALES } from "../src/protocol";
import { rampOf } from "../src/ramp";
import { createStore } from "../src/state";
import { TRAITS } from "./helpers";

/** SHA-256 of the 256 x 3 bytes that matplotlib 3.11 and cmcrameri 1.9 give for linspace(0, 1, 256). */
const MATPLOTLIB = {
  oslo: "20a5a6ad1cac434c26d1b7ff5a7d4f27c5427b554ea871ab8b7d7d4d587c1f18",
  cividis: "8a6c6bf382be7cc30a8cbbefab8d5580471f07c59e828295e414c3f350504e29",
  magma: "e2e7c21b2cdebd6f55d07fae05ea13bb4b4f0908509892384b87c747b9f319f6",
  vik: "5880898ae1e97f3f00f8cfdc32a2aeef07bd90f9240ed46e1cbf1ddf2ac95b1a",
  berlin: "e1df0c7f80c3763b51e505ad4f984e4e5d201905449e9916a41fdcba32fef729",
  viridis: "96a1f6f37d4041f953def955ffb8b9ea2110a9b4e3c9b701182d48f7a9774c58",
};

const DIVERGING = ["vik", "berlin"] as const;

describe("colour maps", () => {
  it.each([...COLORMAPS, ...DIVERGING])("%s is the map of matplotlib, byte for byte", (name) => {
    const bytes = Array.from({ length: 256 }, (_, i) => colourAt(i / 255, name, true)).flat();
    expect(createHash("sha256").update(Uint8Array.from(bytes)).digest("hex")).toBe(MATPLOTLIB[name]);
  });

  it.each(COLORMAPS)("%s turns round on a light page", (name) => {
    expect(colourAt(0, name, false)).toEqual(colourAt(1, name, true));
  });

  it("put zero near the page: next to white on light, next to black on dark", () => {
    expect(colourAt(0, "oslo", false)).toEqual([254, 255, 254]);
    expect(colourAt(0, "oslo", true)).toEqual([0, 1, 0]);
  });
});

describe("diverging maps", () => {
  const light = (rgb: readonly number[]) => rgb.reduce((sum, channel) => sum + channel, 0);

  it.each(DIVERGING)("%s is the same on every page, its neutral colour in the middle", (name) => {
    for (const t of [0, 0.2, 0.5, 1]) expect(colourAt(t, name, true)).toEqual(colourAt(t, name, false));
    const [r, g, b] = colourAt(0.5, name, false);
    expect(Math.max(r, g, b) - Math.min(r, g, b)).toBeLessThan(20);
    const [below, above] = [colourAt(0.15, name, false), colourAt(0.85, name, false)];
    expect([below[2] > below[0], above[0] > above[2]]).toEqual([true, true]);
    const middle = light([r, g, b]);
    const away = [0, 0.25, 0.75, 1].map((t) => light(colourAt(t, name, false)) > middle);
    expect(new Set(away)).toEqual(new Set([name === "berlin"]));
  });

  it("show differences with zero in the middle, equally far on both sides", () => {
    const ramp = signed("vik", 0.4, false);
    const place = positions(ramp);
    expect([-1, -0.4, -0.2, 0, 0.2, 0.4, 1].map(place)).toEqual([
      0,
      0,
      expect.closeTo(0.25, 12),
      0.5,
      expect.closeTo(0.75, 12),
      1,
      1,
    ]);
    expect(weightAt(0.5, ramp)).toBe(0);
  });

  it.each([
    [false, "auto", "vik"],
    [true, "auto", "berlin"],
    [true, "vik", "vik"],
  ] as const)("colour lift around chance: dark %s, %s", (dark, diverging, map) => {
    const store = createStore({
      ...TRAITS(),
      measure: "lift",
      domain: [1 / 8, 8],
      diverging,
      scale: "quantile",
    });
    const ramp = rampOf(store, null, dark);
    expect(ramp.map).toBe(map);
    const place = positions(ramp);
    const lifts = [1 / 64, 1 / 8, 1 / 2, 1, 2, 8, 64];
    // Three keys: a lift travels as a third of itself.
    const expected = lifts.map((lift) => Math.min(1, Math.max(0, 0.5 + Math.log2(lift) / 6)));
    lifts.forEach((lift, i) => {
      expect(place(lift / 3)).toBeCloseTo(expected[i]!, 12);
    });
  });
});

describe("scales", () => {
  it("are what their names say", () => {
    expect(positions({ scale: "linear", range: [0, 0.5] })(0.25)).toBe(0.5);
    expect(positions({ scale: "sqrt", range: [0, 1] })(0.25)).toBe(0.5);
    expect(positions({ scale: "log", range: [0.01, 1] })(0.1)).toBeCloseTo(0.5);
    expect(positions({ scale: "log", range: [0, 1] })(1e-2)).toBeCloseTo(0.5);
  });

  it.each(SCALES)("%s clips outside its range and inverts inside", (scale) => {
    const position = positions({ scale, range: [0.1, 0.6] });
    expect([position(0), position(0.1), position(0.6), position(1)]).toEqual([0, 0, 1, 1]);
    for (const t of [0.1, 0.5, 0.9])
      expect(position(weightAt(t, { scale, range: [0.1, 0.6] }))).toBeCloseTo(t, 9);
    // Beyond the ends too, for what is dragged there.
    expect(weightAt(-0.5, { scale, range: [0.1, 0.6] })).toBeLessThan(0.1);
    expect(weightAt(1.5, { scale, range: [0.1, 0.6] })).toBeGreaterThan(0.6);
  });
});

describe("lookup tables", () => {
  it("give each code the colour of its weight, and masked and missing their own", () => {
    const ramp = { map: "viridis", scale: "sqrt", range: [0, 0.5], dark: false } as const;
    const lut = lookup(65535, { ...ramp, range: [0, 0.5] }, 7, 8);
    expect([lut[0], lut[1]]).toEqual([7, 8]);
    for (const w of [0, 0.01, 0.2, 0.5, 0.9]) {
      const code = encode(w, 65535);
      const t = Math.sqrt(Math.min(1, decodeTable(65535)[code]! / 0.5));
      expect(lut[code]).toBe(pack(colourAt(Math.round(t * 255) / 255, "viridis", false)));
    }
  });
});

describe("ink", () => {
  const channel = (c: number) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  it("reads at 4.5:1 or better on every colour of every map", () => {
    for (const name of [...COLORMAPS, ...DIVERGING])
      for (let i = 0; i < 256; i++) {
        const rgb = colourAt(i / 255, name, true);
        const [r, g, b] = rgb.map(channel) as [number, number, number];
        const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        const contrast = inkOn(rgb) === "#000" ? (light + 0.05) / 0.05 : 1.05 / (light + 0.05);
        expect(contrast).toBeGreaterThanOrEqual(4.5);
      }
  });
});
