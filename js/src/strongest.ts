/** The largest of many numbers, without sorting them all. */

/**
 * The places of the `limit` largest values that are above 0 and at least `floor`, largest first; of equal ones the first. The
 * best so far are kept in order, and most of a row is turned away by one comparison with the last of them.
 */
export function strongest(values: ArrayLike<number>, limit: number, floor = 0): number[] {
  const best: number[] = [];
  let least = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    // Masked (not a number) and unknown (-1) fail both.
    if (!(value > least && value >= floor)) continue;
    let [low, high] = [0, best.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[best[middle]!]! >= value) low = middle + 1;
      else high = middle;
    }
    best.splice(low, 0, i);
    if (best.length > limit) best.pop();
    if (best.length === limit) least = values[best[limit - 1]!]!;
  }
  return best;
}
