/** What every part of one mounted view shares. */

import { headWords } from "./aggregates";
import type { Tile } from "./codes";
import type { Ramp } from "./colour";
import type { DataSource, HeadRef, Line } from "./datasource";
import { type HeadRange, headRange } from "./domain";
import type { Finder } from "./finder";
import type { Frames } from "./frames";
import { kit, plainFinder } from "./kit";
import { type Sight, sightOf } from "./layers";
import { type Passing, passing } from "./passing";
import { TILE } from "./protocol";
import { neededLevel, tilesOver } from "./pyramid";
import { rampOf } from "./ramp";
import type { Selection } from "./select";
import { computed, type ReadonlySignal, type Signal, signal } from "./signals";
import { type HeadIndex, type Pair, type Store, stable } from "./state";
import { named } from "./tokens";
import { type TileWant, wantKey } from "./wants";
import { longest } from "./window";

export interface View {
  readonly store: Store;
  readonly source: DataSource;
  readonly select: Selection;
  readonly frames: Frames;
  readonly dark: ReadonlySignal<boolean>;
  /** What the heads of the grid are sorted, filtered and coloured by. */
  readonly finder: Finder;
  /** The heads whose thumbnails are on screen, nearest to the eye first; null until the grid has been painted. */
  readonly visibleHeads: Signal<readonly HeadIndex[] | null>;
  /** The best picture of the shown head that is here, and how it is coloured. */
  readonly picture: ReadonlySignal<Picture>;
  /** The same of another head that a store shows, and what of it is in sight. */
  seen(store: Store): Pick<View, "picture" | "sight">;
  /** Of a comparison: the only side that has a token, by its place. */
  readonly owners: ReadonlySignal<Record<"queries" | "keys", readonly (string | undefined)[]>>;
  /** What the focused token looks at, or what looks at it. */
  readonly gaze: ReadonlySignal<Gaze | null>;
  /** Which pairs pass the threshold. */
  readonly passing: Passing;
  /** How high a panel may be, in CSS pixels; follows the width of the view. */
  readonly panelHeight: Signal<number>;
  /** Whether the view is on screen, or nearly. */
  readonly onScreen: Signal<boolean>;
  /** Device pixels per CSS pixel. */
  readonly ratio: Signal<number>;
  /** Device pixels that the longer side of the window is drawn on; 0 until the heatmap has been laid out. */
  readonly extent: Signal<number>;
  /** Device pixels a token in the heatmap. */
  readonly zoom: ReadonlySignal<number>;
  /** The pictures whose cells are in sight in the heatmap: of the whole head, and tiles from the middle out. */
  readonly inSight: ReadonlySignal<readonly TileWant[]>;
  /** What of these is here to be drawn, and what shows of it; the same object while nothing about it has changed. */
  readonly sight: ReadonlySignal<Sight>;
  /** The fewest queries looked at under a cell in sight; null: all of them, the cells are exact. */
  readonly sampled: ReadonlySignal<number | null>;
  /** How far the refinement of what is in sight is, from 0 to 1; null when nothing is being refined. */
  readonly progress: ReadonlySignal<number | null>;
  /** Whether something in sight is missing: it has not come yet, or there is no kernel to ask. */
  readonly missing: ReadonlySignal<boolean>;
  /** How the heatmap was pooled to fit its pixels: "" when it was not. */
  readonly pooling: Signal<string>;
  /** A pair in words: `query 12 "it" → key 2 "animal"`, or the side that there is. */
  name(pair: Pair): string;
  /** What is shown, in words: a head, or an aggregate of many. */
  readonly headWords: ReadonlySignal<string>;
  readonly disposers: (() => void)[];
}

export interface Picture {
  tile: Tile | null;
  /** Of a difference: what is taken away. */
  minus?: Tile | undefined;
  head: HeadRange | null;
  ramp: Ramp;
}

/** One line of the head: from a query to all keys, or to a key from all queries. */
export interface Gaze extends Line {
  side: "query" | "key";
  index: number;
  /** The other end, if a pair is focused. */
  other: number | null;
}

export const samePicture = (a: Picture, b: Picture) =>
  a.tile === b.tile && a.minus === b.minus && JSON.stringify(a.ramp) === JSON.stringify(b.ramp);

export const sameSight = (a: Sight, b: Sight) =>
  a.placed.length === b.placed.length &&
  a.placed.every((each, i) => each === b.placed[i]) &&
  a.level === b.level &&
  a.rows === b.rows;

/** The picture of a whole head: as fine as there is one. */
export const pictureOf = (source: DataSource, ref: HeadRef) => source.detail(ref) ?? source.thumbnail(ref);

/** A head of both sides of a comparison; else just this one. */
export const sidesOf = ({ meta }: Store, ref: HeadRef): HeadRef[] =>
  meta.value.compare?.map((stack) => ({ ...ref, stack })) ?? [ref];

/** What the focused token of a head looks at, or what looks at it. */
export function gazeOf(store: Store, source: DataSource, ref: HeadRef): Gaze | null {
  const { query, key } = store.focus.value;
  if (query !== null && (key === null || store.direction.value === "from")) {
    const line = source.row(ref, query);
    return line && { ...line, side: "query", index: query, other: key };
  }
  if (key === null) return null;
  const line = source.column(ref, key);
  return line && { ...line, side: "key", index: key, other: query };
}

export function createView(
  store: Store,
  source: DataSource,
  select: Selection,
  frames: Frames,
  dark: ReadonlySignal<boolean>,
): View {
  const gaze = computed(() => gazeOf(store, source, store.shownHead.value));
  const visibleHeads = signal<readonly HeadIndex[] | null>(null);
  const panelHeight = signal(360);
  const onScreen = signal(true);
  const ratio = signal(1);
  const extent = signal(0);
  const zoom = computed(() => {
    const pixels = extent.value || panelHeight.value * ratio.value;
    return pixels / longest(store.visible.value);
  });
  const inSight = stable<readonly TileWant[]>(
    () => {
      const ref = store.shownHead.value;
      const shape = store.shown.value;
      const looks = onScreen.value && store.panels.value.includes("heatmap");
      const level = looks ? neededLevel(shape, zoom.value) : null;
      const tiles = level === null ? [] : tilesOver(store.visible.value, shape, level);
      const sides = sidesOf(store, ref);
      // The difference of single pairs is read from both sides; of what is pooled the kernel has to make it.
      const apart = sides[1] && Math.max(shape.queries, shape.keys) > TILE;
      const all: HeadRef[] = apart
        ? [...sides, ...sides.map((side) => ({ ...side, measure: "excess" as const }))]
        : sides;
      return all.flatMap((ref) => [
        { kind: "detail", ref } as const,
        ...tiles.map((at) => ({ kind: "tile", ref, ...at }) as const),
      ]);
    },
    (a, b) => a.length === b.length && a.every((want, i) => wantKey(want) === wantKey(b[i]!)),
  );
  const seen: View["seen"] = ({ shownHead }) => ({
    picture: stable<Picture>(() => {
      const ref = shownHead.value;
      const tile = pictureOf(source, ref);
      const sides = sidesOf(store, ref).flatMap((side) => pictureOf(source, side) ?? []);
      return { tile, head: tile && headRange(tile), ramp: rampOf(store, tile, dark.value, sides) };
    }, samePicture),
    sight: stable<Sight>(() => {
      const window = store.visible.value;
      return sightOf(source.placed(shownHead.value, window, zoom.value), window, store.shown.value);
    }, sameSight),
  });
  const { picture, sight } = seen(store);
  const owners = computed(() => {
    const { stack, batch } = store.shown.value;
    const of = (side: "queries" | "keys") => {
      const names: string[] = [];
      stack.examples[batch]!.only?.[side].forEach((places, i) => {
        for (const place of places) names[place] = store.meta.value.compare![i]!;
      });
      return names;
    };
    return { queries: of("queries"), keys: of("keys") };
  });
  const missing = computed(() => {
    void source.version.value;
    const small = (visibleHeads.value ?? []).map(
      (index) => ({ kind: "thumbnail", ref: store.refOf(index) }) as const,
    );
    return [...inSight.value, ...small].some((want) => !source.has(want));
  });
  const finder = computed(() => kit.value?.createFinder(store, source) ?? plainFinder(store));
  return {
    store,
    source,
    select,
    frames,
    dark,
    get finder() {
      return finder.value;
    },
    visibleHeads,
    picture,
    seen,
    owners,
    gaze,
    passing: passing(store, source),
    panelHeight,
    onScreen,
    ratio,
    extent,
    zoom,
    inSight,
    sight,
    sampled: computed(() => sight.value.rows),
    progress: computed(() => (sight.value.rows === null ? null : source.progress.value)),
    missing,
    pooling: signal(""),
    name({ query, key }) {
      const { rows, columns } = store.shown.value;
      const parts: string[] = [];
      const alone = (owner: string | undefined) => (owner ? ` (only in ${owner})` : "");
      const { queries, keys } = owners.value;
      if (query !== null) parts.push(`query ${named(rows.labels, query)}${alone(queries[query])}`);
      if (key !== null) parts.push(`key ${named(columns.labels, key)}${alone(keys[key])}`);
      return parts.join(" → ");
    },
    headWords: computed(() => headWords(store.shownHead.value, store.shown.value.stack)),
    disposers: [],
  };
}
