/** Numbers and sentences as the screen prints them. */
import { MISSING } from "./codes";

/** A weight with three significant digits, never in scientific notation. */
export function formatWeight(weight: number): string {
  if (weight === 0) return "0";
  if (weight < 1e-4) return "< 0.0001";
  return weight.toPrecision(3);
}

/** A number of a scale or a legend: no trailing zeros. */
export function formatEnd(value: number): string {
  if (value === 0) return "0";
  return value < 1e-4 ? value.toExponential(0) : String(Number(value.toPrecision(2)));
}

/** A cell as it is printed: the weight, and how far it can be trusted. */
export function formatCell(value: number | undefined, exact: boolean): string {
  if (value === undefined || value === MISSING) return "not known here";
  if (Number.isNaN(value)) return "not allowed by the mask";
  return exact ? formatWeight(value) : `≈ ${formatWeight(value)}`;
}

export function count(n: number, one: string): string {
  return `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
}
