/** How a picture is coloured: as the traits say, and over its own range where they name none. */
import type { Tile } from "./codes";
import type { Ramp } from "./colour";
import { ranksOf } from "./counts";
import { headRange } from "./domain";
import type { Range } from "./protocol";
import type { Store } from "./state";

/** A range of lift that is as far below chance as above it. */
export function aroundChance(lift: number): Range {
  const c = Number(Math.max(1.1, lift).toPrecision(3));
  return [1 / c, c];
}

/** A range that was found in the codes, as the `domain` trait has it. */
export const asDomain = ({ unit }: Store, [low, high]: Range): Range =>
  unit.value === null ? [low, high] : aroundChance(Math.max(2, high * unit.value));

/** The diverging map in use. */
export const divergingMap = ({ diverging }: Store, dark: boolean) =>
  diverging.value === "auto" ? (dark ? "berlin" : "vik") : diverging.value;

/** `others` share the range of the tile. */
export function rampOf(store: Store, tile: Tile | null, dark: boolean, others: readonly Tile[] = []): Ramp {
  const head = tile && headRange(tile);
  const scale = store.scale.value;
  const unit = store.unit.value;
  if (unit !== null) {
    // Chance is in the middle: the range is symmetric around it on the log scale.
    const [low, high] = store.range.value ?? asDomain(store, head?.range ?? [0, 1]);
    return { map: divergingMap(store, dark), scale: "log", range: [low / unit, high / unit], dark };
  }
  const byRank = scale === "quantile";
  const highs = [tile, ...others].map((each) => {
    const { max, range } = each ? headRange(each) : { max: 1, range: [0, 1] };
    return byRank ? max : range[1]!;
  });
  const own: Range = [0, Math.max(...highs) || 1];
  const range = store.range.value ?? own;
  return { map: store.colormap.value, scale, range, dark, ...(byRank && tile && { ranks: ranksOf(tile) }) };
}
