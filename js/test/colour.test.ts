import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { decodeTable, encode } from "../src/codes";
import { colourAt, inkOn, lookup, pack, positions, weightAt } from "../src/colour";
import { COLORMAPS, SCALES } from "../src/protocol";

/** SHA-256 of the 256 x 3 bytes that matplotlib 3.11 and cmcrameri 1.9 give for linspace(0, 1, 256). */
const MATPLOTLIB = {
  oslo: "20a5a6ad1cac434c26d1b7ff5a7d4f27c5427b554ea871ab8b7d7d4d587c1f18",
  cividis: "8a6c6bf382be7cc30a8cbbefab8d5580471f07c59e828295e414c3f350504e29",
  magma: "e2e7c21b2cdebd6f55d07fae05ea13bb4b4f0908509892384b87c747b9f319f6",
  viridis: "96a1f6f37d4041f953def955ffb8b9ea2110a9b4e3c9b701182d48f7a9774c58",
};

describe("colour maps", () => {
  it.each(COLORMAPS)("%s is the map of matplotlib, byte for byte", (name) => {
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
    for (const name of COLORMAPS)
      for (let i = 0; i < 256; i++) {
        const rgb = colourAt(i / 255, name, true);
        const [r, g, b] = rgb.map(channel) as [number, number, number];
        const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        const contrast = inkOn(rgb) === "#000" ? (light + 0.05) / 0.05 : 1.05 / (light + 0.05);
        expect(contrast).toBeGreaterThanOrEqual(4.5);
      }
  });
});
