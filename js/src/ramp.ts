/** How a picture is coloured: as the traits say, and over its own range where they name none. */
import type { Tile } from "./codes";
import type { Ramp } from "./colour";
import { ranksOf } from "./counts";
import { EMPTY, type Found, headRange } from "./domain";
import type { Range } from "./protocol";
import type { Store } from "./state";

/** Most weights are far below chance: a range of lift shows at least three octaves on either side of it. */
const LEAST_LIFT = 8;

/** A range of lift that is as far below chance as above it. */
export function aroundChance(lift: number): Range {
  const c = Number(Math.max(1.1, lift).toPrecision(3));
  return [1 / c, c];
}

/** A range that was found in the codes, as the `domain` trait has it. */
export function asDomain({ reading }: Store, { range: [low, high], min, max }: Found): Range {
  const { kind, of } = reading.value;
  if (kind === "lift") return aroundChance(Math.max(LEAST_LIFT, of(high)));
  if (kind === "signed") return aroundZero(max ? Math.max(of(max), -of(min)) : of(1));
  return [of(low), of(high)];
}

/** A range that is as far below 0 as above it. */
export function aroundZero(size: number): Range {
  const c = Number(size.toPrecision(3)) || 1;
  return [-c, c];
}

/** The diverging map in use. */
export const divergingMap = ({ diverging }: Store, dark: boolean) =>
  diverging.value === "auto" ? (dark ? "berlin" : "vik") : diverging.value;

/** `others` share the range of the tile. */
export function rampOf(store: Store, tile: Tile | null, dark: boolean, others: readonly Tile[] = []): Ramp {
  const head = tile && headRange(tile);
  const scale = store.scale.value;
  const reading = store.reading.value;
  const { kind, share } = reading;
  const said = store.range.value?.map(share) as Range | undefined;
  if (kind === "lift" || kind === "signed") {
    // Chance, or 0, is in the middle: the range is symmetric around it.
    const range = said ?? (asDomain(store, head ?? EMPTY).map(share) as Range);
    const map = divergingMap(store, dark);
    return {
      map,
      scale: kind === "lift" ? "log" : "linear",
      range,
      dark,
      ...(kind === "signed" && { reading }),
    };
  }
  const byRank = scale === "quantile";
  const highs = [tile, ...others].map((each) => {
    const { max, range } = each ? headRange(each) : { max: 1, range: [0, 1] };
    return byRank ? max : range[1]!;
  });
  const own: Range = [0, Math.max(...highs) || 1];
  const range = said ?? own;
  return { map: store.colormap.value, scale, range, dark, ...(byRank && tile && { ranks: ranksOf(tile) }) };
}
