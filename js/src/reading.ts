/** What the numbers that have come stand for: weights, or another measure on their scale of [0, 1]. */
import type { MeasureMeta } from "./protocol";

export interface Reading {
  /** `amount`: never below 0. `signed`: of either sign, even in the logarithm of their size, 0 in the middle. */
  kind: "weight" | "lift" | "amount" | "signed";
  /** The number that a share stands for. */
  of(share: number): number;
  /** The inverse. */
  share(number: number): number;
}

/** As `Reading` in Python has it. */
const FINEST = 2 ** 27;
const SPAN = Math.log2(1 + FINEST);

const times = (kind: Reading["kind"], unit: number): Reading => ({
  kind,
  of: (share) => share * unit,
  share: (number) => number / unit,
});

export const WEIGHTS = times("weight", 1);

export const liftOf = (keys: number) => times("lift", keys);

export function readingOf({ unit, signed }: MeasureMeta): Reading {
  if (!signed) return times("amount", unit);
  return {
    kind: "signed",
    of(share) {
      const steps = Math.max(-1, Math.log2(share) / 16 + 1);
      // Nothing that is so near to 0 was anything else.
      if (Math.abs(steps) < 1e-7) return 0;
      return (Math.sign(steps) * unit * (2 ** (Math.abs(steps) * SPAN) - 1)) / FINEST;
    },
    share: (number) =>
      2 ** (16 * ((Math.sign(number) * Math.log2(1 + (Math.abs(number) / unit) * FINEST)) / SPAN - 1)),
  };
}
