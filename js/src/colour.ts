/** From weight to colour: lookup tables over codes, rebuilt when scale, range, map or theme change. */
import { decodeTable } from "./codes";
import { TABLES } from "./colormaps";
import type { Ranks } from "./counts";
import {
  CODE_FIRST,
  CODE_MASKED,
  CODE_MISSING,
  CODE_ZERO,
  type Colormap,
  type Diverging,
  type Range,
  type Scale,
} from "./protocol";
import type { Reading } from "./reading";

/**
 * Sequential maps have zero at one end. A diverging one has its neutral colour in the middle, so it goes with a range that
 * is symmetric around the neutral value: [-c, c] on the linear scale for differences (`signed`), [x / c, x * c] on the log
 * scale for ratios, as of lift, whose centre is chance.
 */
export type MapName = Colormap | Exclude<Diverging, "auto">;

/** On the log scale a range that starts at 0 starts four decades under its top instead. */
const LOG_SPAN = 1e-4;

/** From weights to places on the ramp. */
export interface Mapping {
  scale: Scale;
  range: Range;
  /** With the quantile scale: the weights that are ranked. */
  ranks?: Ranks;
  /** Of numbers that do not grow with their shares: these are what is even, from 0 to 1. */
  reading?: Reading;
}

export interface Ramp extends Mapping {
  map: MapName;
  dark: boolean;
}

/** The ramp of differences from -top to top, zero in the middle. */
export const signed = (map: MapName, top: number, dark: boolean): Ramp => ({
  map,
  scale: "linear",
  range: [-top, top],
  dark,
});

export type Rgb = readonly [number, number, number];

const bytes = new Map<MapName, Uint8Array>();

/** The 256 colours of a map, put together from the differences that colormaps.ts holds. */
function table(map: MapName): Uint8Array {
  let found = bytes.get(map);
  if (!found) {
    const [first, steps] = TABLES[map] ?? TABLES.oslo;
    found = new Uint8Array(768);
    for (let i = 0, nth = 0; i < 768; i++) {
      const [channel, place] = [i >> 8, i & 255];
      const at = place * 3 + channel;
      const pair = steps.charCodeAt(nth >> 1) - 40;
      found[at] = place ? found[at - 3]! + (nth++ % 2 ? pair >> 3 : pair & 7) - 3 : first[channel]!;
    }
    bytes.set(map, found);
  }
  return found;
}

/** The two weights at the ends of the ramp, as the scale takes them. */
export function ends(scale: Scale, [low, high]: Range): Range {
  return scale === "log" ? [low || high * LOG_SPAN, high] : [low, high];
}

/** Where weights fall on the ramp, from 0 to 1; a function, so that a table of 65,536 codes costs one set-up. */
export function positions({ scale, range, ranks, reading }: Mapping): (weight: number) => number {
  if (reading) {
    const [from, to] = range.map(reading.of) as [number, number];
    return (weight) => Math.max(0, Math.min(1, (reading.of(weight) - from) / (to - from)));
  }
  const [low, high] = ends(scale, range);
  const place = ranks?.places(range);
  if (ranks && place) return (weight) => place(ranks.code(weight));
  const span = scale === "log" ? Math.log(high / low) : high - low;
  return (weight) => {
    if (!(weight > low)) return 0;
    if (weight >= high) return 1;
    if (scale === "log") return Math.log(weight / low) / span;
    const t = (weight - low) / span;
    return scale === "sqrt" ? Math.sqrt(t) : t;
  };
}

/** The weight at a place of the ramp, or beyond its ends: the inverse of `positions`. */
export function weightAt(t: number, { scale, range, ranks, reading }: Mapping): number {
  if (reading) {
    const [from, to] = range.map(reading.of) as [number, number];
    return reading.share(from + t * (to - from));
  }
  if (ranks) return ranks.weightAt(t, range);
  const [low, high] = ends(scale, range);
  if (scale === "log") return low * (high / low) ** t;
  return low + (high - low) * (scale === "sqrt" ? t * Math.abs(t) : t);
}

/**
 * The colour at a place of the ramp. Sequential maps run dark to light; zero is the end nearest to the page's background.
 * Diverging ones are the same on every page: what lies below the centre keeps its hue.
 */
export function colourAt(t: number, map: MapName, dark: boolean): Rgb {
  const i = Math.round(t * 255);
  const j = (dark || map === "vik" || map === "berlin" ? i : 255 - i) * 3;
  const rgb = table(map);
  return [rgb[j]!, rgb[j + 1]!, rgb[j + 2]!];
}

export function pack([r, g, b]: Rgb, alpha = 255): number {
  return ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** Code -> RGBA. Masked cells get `masked` (0: see-through, over a hatched ground). `sign` is that of what codes stand for. */
export function lookup(max: number, ramp: Ramp, masked: number, missing: number, sign = 1): Uint32Array {
  const weights = decodeTable(max);
  const colours = Uint32Array.from({ length: 256 }, (_, i) => pack(colourAt(i / 255, ramp.map, ramp.dark)));
  const lut = new Uint32Array(max + 1);
  lut[CODE_MASKED] = masked;
  lut[CODE_MISSING] = missing;
  lut[CODE_ZERO] = colours[ramp.range[0] < 0 ? 128 : 0]!;
  const position = positions(ramp);
  const place =
    ramp.ranks?.max === max
      ? ramp.ranks.places(ramp.range)
      : (code: number) => position(sign * weights[code]!);
  for (let code = CODE_FIRST; code <= max; code++) lut[code] = colours[Math.round(place(code) * 255)]!;
  return lut;
}

/** Of signed numbers the one of largest size shows for several: codes by their size. Null of others. */
export const ranking = (max: number, { reading }: Ramp): Float32Array | null =>
  reading
    ? decodeTable(max).map((share, code) => (code < CODE_FIRST ? code - 9 : Math.abs(reading.of(share))))
    : null;

function luminance([r, g, b]: Rgb): number {
  const f = (c: number) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
}

/** Black or white, whichever reads better on a colour; the better one is always at least 4.5:1. */
export function inkOn(rgb: Rgb): "#000" | "#fff" {
  return luminance(rgb) > 0.179 ? "#000" : "#fff";
}

/** Hues around the circle of OKLCH, and the lightnesses they come in: medium, light, dark. */
const HUES = 11;
const LIGHTNESS = { light: [0.52, 0.64, 0.4], dark: [0.7, 0.86, 0.54] };

/**
 * One colour per head. Neighbours are far apart in hue; after every turn of the circle the lightness changes, so that 33
 * heads differ, and all of them stand out from the page.
 */
export function headColour(head: number, dark: boolean): string {
  const turn = Math.floor(head / HUES);
  const lightness = LIGHTNESS[dark ? "dark" : "light"][turn % 3]!;
  // Medium ones lie between the hues of the others; from the 34th head on, hues lie in between again.
  const shift = (turn % 3 ? 0 : 0.5) + Math.floor(turn / 3) / 4;
  const hue = (31.5 + (((head * 3) % HUES) + shift) * (360 / HUES)) % 360;
  return `oklch(${lightness} 0.15 ${hue.toFixed(1)})`;
}
