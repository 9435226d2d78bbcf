/** Numbers and sentences as the screen prints them. */
import { MISSING } from "./codes";
import { type Reading, WEIGHTS } from "./reading";

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A weight with three significant digits; of tens of thousands of keys most get less than 0.0001. */
export function formatWeight(weight: number): string {
  if (weight === 0) return "0";
  if (weight >= 1e-4) return weight.toPrecision(3);
  const [digits, power] = weight.toExponential(2).split("e-");
  return `${digits} × 10⁻${power!.replace(/\d/g, (digit) => SUPERSCRIPTS[Number(digit)]!)}`;
}

/** A number of either sign. */
export function formatSigned(value: number): string {
  const size = Math.abs(value);
  return `${value < 0 ? "−" : ""}${size >= 100 ? size.toFixed(1) : formatWeight(size)}`;
}

/** A number of a scale or a legend: no trailing zeros. */
export function formatEnd(value: number): string {
  if (value < 0) return `−${formatEnd(-value)}`;
  if (value === 0) return "0";
  return value < 1e-4 ? value.toExponential(0) : String(Number(value.toPrecision(2)));
}

/** Likewise, of a number as it has come. */
export const formatShare = (share: number, { kind, of }: Reading): string =>
  formatEnd(of(share)) + (kind === "lift" ? " × uniform" : "");

/** How many times as much as by chance, with three significant digits. */
function formatLift(lift: number): string {
  return `${lift < 1000 ? formatWeight(lift) : grouped(Math.round(lift))} × uniform`;
}

/** A cell as it is printed: the weight or what is read in its place, and how far it can be trusted. */
export function formatCell(value: number | undefined, exact: boolean, { kind, of } = WEIGHTS): string {
  if (value === undefined || value === MISSING) return "not known here";
  if (Number.isNaN(value)) return "not allowed by the mask";
  const number = (kind === "lift" ? formatLift : formatSigned)(of(value));
  return exact ? number : `≈ ${number}`;
}

/** What there is to say, in one line. */
export const dots = (...parts: string[]) => parts.filter(Boolean).join(" · ");

/** A whole number, its thousands set apart. */
export const grouped = (n: number) => n.toLocaleString("en");

export function count(n: number, one: string): string {
  return `${grouped(n)} ${one}${n === 1 ? "" : "s"}`;
}
