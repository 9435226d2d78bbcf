/** What a widget shows: one signal per trait, the hover that never travels, and what follows from them. */

import { aggregateOf } from "./aggregates";
import type { HeadRef, HeadShape } from "./datasource";
import type {
  Ablation,
  AddedMap,
  Colormap,
  Components,
  Direction,
  Diverging,
  Filter,
  LiveText,
  Measure,
  Meta,
  Metric,
  Over,
  PanelName,
  Range,
  Reduce,
  Run,
  Scale,
  StackMeta,
  Theme,
  ThresholdKind,
  Tokens,
  WindowTrait,
} from "./protocol";
import { liftOf, type Reading, readingOf, WEIGHTS } from "./reading";
import { computed, type ReadonlySignal, type Signal, signal } from "./signals";
import { wordsOf } from "./tokens";
import { headKey } from "./wants";
import { clampWindow, fromTrait, sameWindow, type Window } from "./window";

export interface Pair {
  query: number | null;
  key: number | null;
}

export interface HeadIndex {
  layer: number;
  head: number;
}

/** A text, one place per token, and its readable labels. */
export interface Words {
  tokens: Tokens;
  labels: string[];
}

/** Tokens from `first` to `last` that match a search. `both`: in a text that is its own keys. */
export interface Match {
  side: "query" | "key" | "both";
  first: number;
  last: number;
}

/** What a search has found, in the order of the text (queries first). */
export interface Found {
  typed: string;
  hits: readonly Match[];
  /** The match the search stands at, or -1. */
  at: number;
  /** Per token of either side: 1 where it is part of a match. */
  marks: { query: Uint8Array; key: Uint8Array };
  /** Of a jump to an index the last one that there is, else null. */
  last: number | null;
}

/** The example shown: queries, keys (the same object if a text looks at itself) and their counts. */
export interface Shown extends HeadShape {
  stack: StackMeta;
  batch: number;
  rows: Words;
  columns: Words;
}

export interface Traits {
  meta: Signal<Meta>;
  stack: Signal<string>;
  batch: Signal<number>;
  layer: Signal<number>;
  head: Signal<number>;
  query: Signal<number | null>;
  key: Signal<number | null>;
  window: Signal<WindowTrait | null>;
  direction: Signal<Direction>;
  panels: Signal<PanelName[]>;
  threshold: Signal<number>;
  scale: Signal<Scale>;
  domain: Signal<Range | null>;
  colormap: Signal<Colormap>;
  theme: Signal<Theme>;
  components: Signal<Components>;
  threshold_kind: Signal<ThresholdKind>;
  text: Signal<LiveText>;
  run: Signal<Partial<Run>>;
  maps: Signal<AddedMap[]>;
  sort: Signal<string | null>;
  ascending: Signal<boolean>;
  like: Signal<[number, number] | null>;
  filter: Signal<Filter | null>;
  colour_by: Signal<string | null>;
  measure: Signal<Measure>;
  diverging: Signal<Diverging>;
  /** Sub-words are merged. */
  words: Signal<boolean>;
  /** Keys left out: tokens of the text as it is, also while words are shown. */
  hidden_keys: Signal<number[]>;
  heads: Signal<number[]>;
  aggregate: Signal<Reduce | null>;
  over: Signal<Over>;
  ablation: Signal<Ablation>;
  metric: Signal<Metric>;
  /** The candidate chosen: its number in the vocabulary. */
  token: Signal<number | null>;
}

export interface Store extends Traits {
  /** Tokens under the pointer, and the panel it is in; null when there is none. */
  hoverPair: Signal<(Pair & { panel: PanelName }) | null>;
  hoverHead: Signal<HeadIndex | null>;
  /** What the search field has found in the tokens shown; null while it is empty. */
  found: Signal<Found | null>;
  /** The threshold while its slider is held; committed on release. */
  draft: Signal<number | null>;
  /** The window while a gesture is on; committed to the trait when it rests. */
  draftWindow: Signal<Window | null>;
  /** What of the head is in sight: the gesture's window, else the trait's. */
  visible: ReadonlySignal<Window>;
  shown: ReadonlySignal<Shown>;
  locked: ReadonlySignal<Pair>;
  focus: ReadonlySignal<Pair>;
  lockedHead: ReadonlySignal<HeadRef>;
  /** What is shown: a head passed over in the grid, else the aggregate, else the locked head. */
  shownHead: ReadonlySignal<HeadRef>;
  /** The heads of the layer that are drawn, together or as one, in order: at least one. */
  active: ReadonlySignal<readonly number[]>;
  /** What the line view draws together: the selected heads, or what is shown. */
  drawnHeads: ReadonlySignal<readonly HeadRef[]>;
  cut: ReadonlySignal<number>;
  /** The range of colours while one of its ends is dragged; committed to `domain` on release. */
  draftDomain: Signal<Range | null>;
  /** The range of colours that somebody has said: the drag's, else the trait's. */
  range: ReadonlySignal<Range | null>;
  /** What the numbers that have come stand for. */
  reading: ReadonlySignal<Reading>;
  /** A head of the example shown, and which of its numbers are asked for. */
  refOf(index: HeadIndex): HeadRef;
}

const clamp = (i: number, n: number) => Math.max(0, Math.min(n - 1, Math.trunc(i) || 0));

function within(i: number | null, n: number): number | null {
  return i !== null && i >= 0 && i < n ? i : null;
}

const same = (a: Pair, b: Pair) => a.query === b.query && a.key === b.key;

/** Keeps the old object while the content is the same, so that what depends on it rests. */
export function stable<T>(make: () => T, equal: (a: T, b: T) => boolean): ReadonlySignal<T> {
  let last: T | undefined;
  return computed(() => {
    const next = make();
    if (last === undefined || !equal(last, next)) last = next;
    return last;
  });
}

export const sameHead = (a: HeadRef, b: HeadRef) => headKey(a) === headKey(b);

export function createStore(initial: { [K in keyof Traits]: Traits[K]["value"] }): Store {
  const traits = Object.fromEntries(
    Object.entries(initial).map(([k, v]) => [k, signal(v)]),
  ) as unknown as Traits;
  const hoverPair: Store["hoverPair"] = signal(null);
  const hoverHead: Store["hoverHead"] = signal(null);
  const found: Store["found"] = signal(null);
  const draft = signal<number | null>(null);
  const draftWindow = signal<Window | null>(null);
  const draftDomain = signal<Range | null>(null);

  const shown = computed<Shown>(() => {
    const { stacks } = traits.meta.value;
    const stack = stacks.find((s) => s.name === traits.stack.value) ?? stacks[0]!;
    const batch = clamp(traits.batch.value, stack.examples.length);
    const { queries, keys } = stack.examples[batch]!;
    const rows = wordsOf(queries);
    const columns = keys ? wordsOf(keys) : rows;
    return { stack, batch, rows, columns, queries: rows.labels.length, keys: columns.labels.length };
  });
  const inside = ({ query, key }: Pair): Pair => ({
    query: within(query, shown.value.queries),
    key: within(key, shown.value.keys),
  });
  const refOf = ({ layer, head }: HeadIndex): HeadRef => {
    const { stack, batch } = shown.value;
    return {
      stack: stack.name,
      batch,
      layer: clamp(layer, stack.layers),
      head: clamp(head, stack.heads),
      ...(traits.measure.value === "lift" && { measure: "lift" as const }),
    };
  };
  const locked = stable(() => inside({ query: traits.query.value, key: traits.key.value }), same);
  const lockedHead = stable(() => refOf({ layer: traits.layer.value, head: traits.head.value }), sameHead);
  const active = stable<readonly number[]>(
    () => {
      const all = traits.aggregate.value !== null && traits.over.value !== "heads";
      const { heads } = shown.value.stack;
      if (all) return Array.from({ length: heads }, (_, i) => i);
      const chosen = traits.heads.value.filter((head) => head < heads);
      return chosen.length ? chosen : [lockedHead.value.head];
    },
    (a, b) => a.join() === b.join(),
  );
  const shownHead = stable<HeadRef>(() => {
    if (hoverHead.value) return refOf(hoverHead.value);
    const locked = lockedHead.value;
    const reduce = traits.aggregate.value;
    if (!reduce) return locked;
    const { stack } = shown.value;
    return {
      ...locked,
      aggregate: aggregateOf(reduce, traits.over.value, locked.layer, active.value, stack),
    };
  }, sameHead);
  return {
    ...traits,
    hoverPair,
    hoverHead,
    found,
    draft,
    draftWindow,
    visible: stable(() => {
      const gesture = draftWindow.value;
      return gesture ? clampWindow(gesture, shown.value) : fromTrait(traits.window.value, shown.value);
    }, sameWindow),
    shown,
    locked,
    focus: stable(() => (hoverPair.value ? inside(hoverPair.value) : locked.value), same),
    lockedHead,
    shownHead,
    active,
    drawnHeads: stable<readonly HeadRef[]>(
      () =>
        hoverHead.value || traits.aggregate.value
          ? [shownHead.value]
          : active.value.map((head) => ({ ...lockedHead.value, head })),
      (a, b) => a.map(headKey).join() === b.map(headKey).join(),
    ),
    cut: computed(() => draft.value ?? traits.threshold.value),
    draftDomain,
    range: computed(() => draftDomain.value ?? traits.domain.value),
    reading: computed(() => {
      const { stack, keys } = shown.value;
      // Of another measure it is told with the numbers: the trait may be ahead of them.
      if (stack.measure) return readingOf(stack.measure);
      return traits.measure.value === "lift" ? liftOf(keys) : WEIGHTS;
    }),
    refOf,
  };
}
