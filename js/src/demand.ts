/** Which weights a view needs now, most urgent first. */
import { exists as known } from "./aggregates";
import { type HeadRef, plain } from "./datasource";
import { PYRAMID_TILE, type WindowTrait } from "./protocol";
import { levels, neededLevel, neighbours, tilesOver } from "./pyramid";
import { effect, signal } from "./signals";
import { WHOLE_VALUES } from "./source";
import { type HeadIndex, type Pair, sameHead } from "./state";
import { sidesOf, type View } from "./view";
import { isLong, type TileWant, type Want } from "./wants";
import { longest } from "./window";

/** A head or token passed over in a sweep is not worth floats; one rested on is. */
const DWELL = 150;
/** Tokens of a window, at most, whose pairs are drawn as lines of several heads: four tiles of each at the worst. */
const SINGLE = PYRAMID_TILE;

export function demand(view: View): void {
  const { store, source } = view;
  const settled = signal({ head: store.lockedHead.peek(), focus: store.locked.peek() });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stopSettling = effect(() => {
    const next = { head: store.shownHead.value, focus: store.focus.value };
    clearTimeout(timer);
    timer = setTimeout(() => {
      settled.value = next;
    }, DWELL);
  });

  const exists = (of: HeadIndex) => known(of, store.shown.value.stack);
  /** A head, or many as one, of what is shown now. */
  const at = (of: HeadIndex & Pick<HeadRef, "aggregate">): HeadRef => {
    const { stack, batch, measure } = store.lockedHead.value;
    const { layer, head, aggregate } = of;
    return { stack, batch, layer, head, ...(aggregate && { aggregate }), ...(measure && { measure }) };
  };

  /** Exact weights: of small heads all, of long ones those of the tokens in focus. */
  const floats = (ref: HeadRef, { query, key }: Pair): Want[] => {
    const { queries, keys } = store.shown.value;
    if (queries * keys <= WHOLE_VALUES) {
      const both = !ref.aggregate && ref.measure === store.lockedHead.value.measure;
      return (both ? [store.lockedHead.value, ref] : [ref]).map((each) => ({ kind: "values", ref: each }));
    }
    const wants: Want[] = [];
    if (query !== null && query < queries) wants.push({ kind: "row", ref, index: query });
    if (key !== null && key < keys) wants.push({ kind: "column", ref, index: key });
    return wants;
  };

  /** How the weight in focus came about, where somebody reads it. */
  const explained = (ref: HeadRef, { query, key }: Pair): Want[] => {
    const { queries, keys } = store.shown.value;
    if (!store.panels.value.includes("detail") || !view.onScreen.value) return [];
    const there = query !== null && key !== null && query < queries && key < keys;
    return there ? [{ kind: "qk", ref, query, key }] : [];
  };

  /** What lies along the axes, of the whole head too: it is there while a new window's is on its way. */
  const strips = (ref: HeadRef): Want[] => {
    const { queries, keys } = store.shown.value;
    const { visible } = store;
    const ends = [...visible.value.queries, ...visible.value.keys];
    const windows = [
      [0, queries, 0, keys],
      ends.map((end, i) => (i % 2 ? Math.ceil(end) : Math.floor(end))),
    ] as WindowTrait[];
    return windows.map((window) => ({ kind: "marginals", ref, window }));
  };

  /** What the eye may turn to: more of the window's surroundings, and the heads around the locked one. */
  /** The other heads that the line view draws, of long ones the tiles that show single pairs. */
  const companions = (): HeadRef[] =>
    store.panels.value.includes("lines")
      ? store.drawnHeads.value.filter((ref) => !sameHead(ref, store.shownHead.value))
      : [];
  const drawn = (ref: HeadRef): TileWant[] => {
    const shape = store.shown.value;
    const single = levels(shape) > 0 && longest(store.visible.value) <= SINGLE;
    const tiles = single ? tilesOver(store.visible.value, shape, 0) : [];
    return [{ kind: "detail", ref }, ...tiles.map((place) => ({ kind: "tile", ref, ...place }) as const)];
  };

  const next = (ref: HeadRef): Want[] => {
    const shape = store.shown.value;
    const level = view.inSight.value.length > 1 ? neededLevel(shape, view.zoom.value) : null;
    const near = level === null ? [] : neighbours(store.visible.value, shape, level);
    const { layer, head } = store.lockedHead.value;
    const around = [
      { layer, head: head + 1 },
      { layer, head: head - 1 },
      { layer: layer + 1, head },
      { layer: layer - 1, head },
    ];
    return [
      ...near.map((place) => ({ kind: "tile", ref, ...place }) as const),
      ...(ref.aggregate ? [] : around.filter(exists)).map(
        (index) => ({ kind: "detail", ref: at(index) }) as const,
      ),
    ];
  };

  const stop = effect(() => {
    const shown = store.shownHead.value;
    const shape = store.shown.value;
    const pictures = view.inSight.value;
    const small = (view.visibleHeads.value ?? [])
      .filter(exists)
      .map((index) => ({ kind: "thumbnail", ref: at(index) }) as const);
    const { head, focus } = settled.value;
    // Until a gesture or a sweep over the heads has come to rest, only what is in sight right now is asked for.
    const rests = sameHead(shown, at(head)) && !store.draftWindow.value;
    const looks = rests && view.onScreen.value;
    const others = companions();
    // Many heads of a long text take a while: a small picture comes first.
    const first: Want[] =
      shown.aggregate && isLong(pictures[0]!, shape) ? [{ kind: "thumbnail", ref: shown }] : [];
    const refine = (wants: readonly TileWant[]): Want[] =>
      wants.filter((want) => looks && isLong(want, shape)).map((of) => ({ kind: "refine", ref: of.ref, of }));
    source.want(
      view,
      [
        ...first,
        ...pictures,
        ...(exists(head)
          ? [...sidesOf(store, at(head)), ...others.map(at)].flatMap((each) => floats(each, focus))
          : []),
        ...(exists(head) && !shown.aggregate ? explained(at(head), focus) : []),
        ...others.flatMap(drawn),
        // Rows of other measures are no distributions, and nothing lies along their axes.
        ...(looks && !store.shown.value.stack.measure && store.panels.value.includes("heatmap")
          ? sidesOf(store, shown).flatMap(strips)
          : []),
        ...small,
        // Beside a lift stands the weight that it comes from.
        ...(store.reading.value.kind === "lift" && exists(head) ? floats(plain(at(head)), focus) : []),
      ],
      [...view.finder.wants(), ...refine(pictures)],
      rests ? next(shown) : [],
      [...refine(small), ...(looks ? view.finder.wants(true) : [])],
    );
  });
  view.disposers.push(() => {
    clearTimeout(timer);
    stopSettling();
    stop();
    source.want(view);
  });
}
