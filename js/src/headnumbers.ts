/** One number per head of a stack: how it is printed, ordered and coloured, wherever it comes from. */
import { formatEnd, formatSigned } from "./format";
import type { Range } from "./protocol";

/** In the place of a number that there is, but that is not known: of a model that overflowed, or on its way. */
export const UNKNOWN = Number.POSITIVE_INFINITY;

export interface HeadNumbers {
  /** What they are, before a number. */
  label: string;
  unit: string;
  /** Layer by layer: NaN where there is none, and infinite where it is not known. */
  values: ArrayLike<number>;
  /** What is said where there is none. */
  lacking: string;
  /** Coloured on either side of 0, and printed with their sign. */
  signed: boolean;
  /** Before a number, how exact it is, and after it, what it was taken over. */
  about?: string;
  over?: string;
  /** How far each varies, as far as that is known. */
  spread?: ArrayLike<number>;
  /** From where to where they are coloured, where somebody has said so. */
  range?: Range | null;
}

/** A number of a head with its sign, in three significant digits. */
const signedWords = (value: number) => `${value > 0 ? "+" : ""}${formatSigned(value)}`;

/** One of them in words, with all there is to say. */
export function numberWords(numbers: HeadNumbers, i: number): string {
  const { label, unit, values, lacking, signed, about = "", over, spread } = numbers;
  const value = values[i]!;
  if (!Number.isFinite(value)) return `${label} ${Number.isNaN(value) ? lacking : "not a number"}`;
  const varies = spread?.[i] ?? Number.NaN;
  return [
    ...[label, about, signed ? signedWords(value) : formatSigned(value)],
    ...(Number.isFinite(varies) ? ["±", formatEnd(varies)] : []),
    ...[unit, over],
  ]
    .filter(Boolean)
    .join(" ");
}

const sign = (value: number) => (value < 0 ? "−" : value > 0 ? "+" : "");

/** The two ends of the colours; between signs a dash would be one more. */
export const rangeWords = ({ signed, unit }: HeadNumbers, [low, high]: Range): string =>
  `${signed ? `−${formatEnd(high)} to +` : `${formatEnd(low)} – `}${formatEnd(high)} ${unit}`.trimEnd();

/** A number in fewer and fewer digits, for a cell. */
export function shorter({ signed }: HeadNumbers, value: number): string[] {
  const size = Math.abs(value);
  const before = signed ? sign(value) : "";
  return [formatEnd(size), size.toPrecision(1), size.toExponential(0)].map((digits) => before + digits);
}

/** The numbers at the two ends of the colours: 0 and the largest, or as far below 0 as above it. */
export function colourRange({ values, signed, range }: HeadNumbers): Range {
  const sizes = Array.from(values, (value) => (Number.isFinite(value) ? Math.abs(value) : 0));
  const most = sizes.reduce((a, b) => Math.max(a, b), 0) || 1;
  return range || [signed ? -most : 0, most];
}

/** The smallest first; what there is not, or is not known, comes last in either order. */
export function comparing({ values }: HeadNumbers, ascending: boolean): (a: number, b: number) => number {
  const rank = (i: number) => (Number.isFinite(values[i]) ? (ascending ? 1 : -1) * values[i]! : UNKNOWN);
  return (a, b) => rank(a) - rank(b) || 0;
}
