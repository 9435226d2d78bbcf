/** Two captures compared: the heads that stand side by side, and their difference as one picture. */
import { decodeTable, encode, type Tile } from "./codes";
import { signed } from "./colour";
import { headRange } from "./domain";
import { singleCelled } from "./edges";
import { sightOf } from "./layers";
import { CODE_MAX_U16, CODE_MISSING } from "./protocol";
import { divergingMap } from "./ramp";
import { signal } from "./signals";
import { type HeadRef, type Placed, plain } from "./source";
import { sameHead, stable } from "./state";
import { pictureOf, samePicture, sameSight, type View } from "./view";

const joined = new WeakMap<Tile, Placed & { of: Tile }>();

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
    if (found?.of !== minus) {
      found = { ...each, minus, of: minus };
      joined.set(tile, found);
    }
    return [found];
  });
}

/** The same of heads whose cells are single pairs: read from the pictures of the two sides. */
function subtracted(more: Tile, less: Tile, { queries, keys }: View["owners"]["value"]): Placed {
  let found = joined.get(more);
  if (found?.of !== less) {
    const { height, width } = more;
    const [plus, minus] = [more, less].map(({ max }) => decodeTable(max)) as [Float32Array, Float32Array];
    const out = [more, less].map(() => new Uint16Array(height * width));
    for (let i = 0; i < height * width; i++) {
      const [b, a] = [plus[more.codes[i]!]!, minus[less.codes[i]!]!];
      const alone = queries[Math.floor(i / width)] ?? keys[i % width];
      // Where one side forbids a pair it gives it nothing.
      const by = alone || (Number.isNaN(a) && Number.isNaN(b)) ? Number.NaN : (b || 0) - (a || 0);
      const missing = !alone && (a < 0 || b < 0);
      out.forEach((codes, side) => {
        codes[i] = missing ? CODE_MISSING : encode(Math.max(side ? -by : by, 0), CODE_MAX_U16);
      });
    }
    const [tile, taken] = out.map((codes) => ({ height, width, codes, max: CODE_MAX_U16 }));
    found = { queries: [0, height], keys: [0, width], tile: tile!, minus: taken!, of: less };
    joined.set(more, found);
  }
  return found;
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
    const shape = store.shown.value;
    const refs = [b, a].map((stack) => ({ ...shownHead.value, stack }));
    const [more, less] = refs.map((ref) => source.placed(ref, window, view.zoom.value));
    const [plus, minus] = refs.map((ref) => pictureOf(source, plain(ref)));
    const single = [plus, minus].every((tile) => singleCelled(tile!, shape.queries, shape.keys));
    const placed = single ? [subtracted(plus!, minus!, view.owners.value)] : join(more!, less!);
    return sightOf(placed, window, shape);
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
  return { ...view, store, sight, picture, pooling: signal("") };
}
