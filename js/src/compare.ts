/** Two captures compared: the heads that stand side by side, and their difference as one picture. */
import type { Tile } from "./codes";
import { signed } from "./colour";
import { headRange } from "./domain";
import { sightOf } from "./layers";
import { divergingMap } from "./ramp";
import type { HeadRef, Placed } from "./source";
import { sameHead, stable } from "./state";
import { samePicture, sameSight, type View } from "./view";

const joined = new WeakMap<Tile, Placed>();

/** What is more, with what is less in the same cells; nothing where only one of them is here. */
function join(more: readonly Placed[], less: readonly Placed[]): Placed[] {
  return more.flatMap((each) => {
    const { tile, level, queries, keys } = each;
    const minus = less.find(
      (other) =>
        other.level === level &&
        other.queries[0] === queries[0] &&
        other.keys[0] === keys[0] &&
        other.tile.codes.length === tile.codes.length &&
        other.tile.max === tile.max,
    )?.tile;
    if (!minus) return [];
    let found = joined.get(tile);
    if (found?.minus !== minus) {
      found = { ...each, minus };
      joined.set(tile, found);
    }
    return [found!];
  });
}

/** The view of one side, whatever stack is shown. */
export function sideView(view: View, stack: string): View {
  const shownHead = stable<HeadRef>(() => ({ ...view.store.shownHead.value, stack }), sameHead);
  const store = { ...view.store, shownHead };
  return { ...view, store, ...view.seen(store) };
}

/** The view of the second side less the first. */
export function differenceView(view: View, [a, b]: readonly [string, string]): View {
  const { source, dark } = view;
  const shownHead = stable<HeadRef>(
    () => ({ ...view.store.shownHead.value, stack: b, measure: "excess" }),
    sameHead,
  );
  const store = { ...view.store, shownHead };
  const sight: View["sight"] = stable(() => {
    const window = store.visible.value;
    const [more, less] = [b, a].map((stack) =>
      source.placed({ ...shownHead.value, stack }, window, view.zoom.value),
    );
    return sightOf(join(more!, less!), window, store.shown.value);
  }, sameSight);
  const picture: View["picture"] = stable(() => {
    const { tile, minus } = sight.value.placed[0] ?? {};
    const ranges = [tile, minus].map((each) => (each ? headRange(each) : { range: [0, 0], max: 0 }));
    const top = store.range.value?.[1] ?? (Math.max(...ranges.map(({ range }) => range[1]!)) || 1);
    return {
      tile: tile ?? null,
      minus,
      head: tile ? { ...headRange(tile), max: Math.max(...ranges.map(({ max }) => max)) } : null,
      ramp: signed(divergingMap(store, dark.value), top, dark.value),
    };
  }, samePicture);
  return { ...view, store, sight, picture };
}
