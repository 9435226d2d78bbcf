/** The fewest strongest weights of a row that together reach a mass; of equal ones the first. */

/** What a row keeps: the weights above `least`, and those equal to it up to the place `last`. */
export interface RowCut {
  least: number;
  last: number;
}

/** At least one is kept, and all above 0 where they never reach the mass. Masked (not a number) and unknown (-1) have none. */
export function massCut(values: Float32Array, mass: number): RowCut {
  // Not a number is sorted to the end.
  const sorted = values.slice().sort();
  let end = sorted.length;
  while (end && Number.isNaN(sorted[end - 1])) end--;
  let [at, sum] = [end, 0];
  while (at && sorted[at - 1]! > 0 && (at === end || sum < mass)) sum += sorted[--at]!;
  if (at === end) return { least: 1, last: -1 };
  const least = sorted[at]!;
  let ties = 0;
  while (sorted[at + ties] === least) ties++;
  let last = -1;
  while (ties--) last = values.indexOf(least, last + 1);
  return { least, last };
}

export const keeps = ({ least, last }: RowCut, weight: number, place: number) =>
  weight > least || (weight === least && place <= last);
