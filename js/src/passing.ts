/** Which pairs are drawn as lines and arcs: those whose weight, or whose part of a query's mass, passes the threshold. */

import { type Edges, singleCelled, strongestEdges } from "./edges";
import { formatEnd, grouped } from "./format";
import { keeps, massCut, type RowCut } from "./mass";
import type { Aimed } from "./panels/pairs";
import type { ThresholdKind } from "./protocol";
import { batch, computed, type ReadonlySignal } from "./signals";
import { type DataSource, type HeadRef, WHOLE_VALUES } from "./source";
import type { Store } from "./state";
import { strongest } from "./strongest";
import { headKey } from "./wants";
import { isWhole, type Window } from "./window";

/** Pairs drawn at most: the strongest. */
export const MOST_EDGES = 2000;

export interface Passing {
  /** Those of the window, weakest first; in a gesture those from before. Null where none is known pair by pair. */
  readonly edges: ReadonlySignal<Edges | null>;
  /** The places on a row or column that pass, strongest first. Null where what is here cannot tell. */
  along(line: Aimed): readonly number[] | null;
  /** Why `along` cannot tell yet, or "". */
  waits(line: Aimed): string;
  /** What passes, in words: `≥ 0.05`. */
  readonly words: ReadonlySignal<string>;
  /** Another kind comes with the number it had last. */
  choose(kind: ThresholdKind): void;
}

interface Known<T> {
  kind: ThresholdKind;
  cut: number;
  /** What it was found in. */
  basis: object;
  found: T;
}

/** Heads whose cuts are remembered. */
const REMEMBERED = 64;

export function passing(store: Store, source: DataSource): Passing {
  const numbers: Record<ThresholdKind, number> = { weight: 0, mass: 0.9 };
  const cutsOf = new Map<string, Known<RowCut[]>>();
  const ordersOf = new Map<string, Known<readonly number[]>>();
  const remembered = <T>(map: Map<string, Known<T>>, name: string, basis: object, make: () => T): T => {
    const [kind, cut] = [store.threshold_kind.value, store.cut.value];
    let known = map.get(name);
    if (known?.basis !== basis || known.kind !== kind || known.cut !== cut) {
      if (map.size >= REMEMBERED) map.clear();
      known = { kind, cut, basis, found: make() };
      map.set(name, known);
    }
    return known.found;
  };
  const pairByPair = (ref: HeadRef) => {
    const { queries, keys } = store.shown.value;
    const tile = source.detail(ref) ?? source.thumbnail(ref);
    return singleCelled(tile, queries, keys) ? tile : null;
  };
  /** What each query of a head keeps; null where its whole rows are not here. */
  const cuts = (ref: HeadRef): RowCut[] | null => {
    const { queries, keys } = store.shown.value;
    const first = source.row(ref, 0);
    // The rows of a head that comes all at once lie in one buffer.
    const whole = first?.exact && queries * keys <= WHOLE_VALUES;
    const basis = whole ? first.values.buffer : pairByPair(ref);
    const row = (_: unknown, query: number) => massCut(source.row(ref, query)!.values, store.cut.value);
    return basis && remembered(cutsOf, headKey(ref), basis, () => Array.from({ length: queries }, row));
  };

  const massEdges = (ref: HeadRef, window: Window): Edges | null => {
    const kept = cuts(ref);
    if (!kept) return null;
    const [[q0, q1], [k0, k1]] = [window.queries, window.keys];
    const found: [queries: number[], keys: number[], weights: number[]] = [[], [], []];
    for (let query = Math.floor(q0); query < q1; query++) {
      const { values } = source.row(ref, query)!;
      for (let key = Math.floor(k0); key < k1; key++)
        if (keeps(kept[query]!, values[key]!, key))
          [query, key, values[key]!].forEach((value, i) => {
            found[i]!.push(value);
          });
    }
    const [queries, keys, weights] = found;
    const order = strongest(weights, MOST_EDGES).reverse();
    return {
      queries: Uint32Array.from(order, (i) => queries[i]!),
      keys: Uint32Array.from(order, (i) => keys[i]!),
      weights: Float32Array.from(order, (i) => weights[i]!),
      total: weights.length,
      whole: true,
    };
  };

  let last: Edges | null = null;
  let lastOf: HeadRef | null = null;
  const edges = computed(() => {
    const ref = store.shownHead.value;
    if (store.draftWindow.value !== null && ref === lastOf) return last;
    lastOf = ref;
    const window = store.visible.value;
    if (store.threshold_kind.value === "mass") last = massEdges(ref, window);
    else last = strongestEdges(source.placed(ref, window, 1), window, store.cut.value, MOST_EDGES);
    return last;
  });

  const waits = (line: Aimed): string => {
    const ref = store.shownHead.value;
    // A line read from pooled cells would go to every token of a cell for one of them.
    const live = source.link.value === "live" || source.link.value === "busy";
    if (!line.exact && !pairByPair(ref))
      return live ? "once its exact weights are here" : "need a running kernel";
    const rows = store.threshold_kind.value === "weight" || line.side === "query" || cuts(ref);
    return rows ? "" : "by mass need the whole row of every query, which is too much to hold here";
  };
  return {
    edges,
    waits,
    along(line) {
      if (waits(line)) return null;
      const { values, side } = line;
      const ref = store.shownHead.value;
      const cut = store.cut.value;
      return remembered(ordersOf, headKey(ref), values, () => {
        if (store.threshold_kind.value === "weight") return strongest(values, MOST_EDGES, cut);
        const rows = side === "key" ? cuts(ref)! : null;
        const row = rows ? null : massCut(values, cut);
        return strongest(values, MOST_EDGES, row?.least).filter((i) =>
          row ? keeps(row, values[i]!, i) : keeps(rows![i]!, values[i]!, line.index),
        );
      });
    },
    words: computed(() => {
      const cut = store.cut.value;
      return store.threshold_kind.value === "weight"
        ? `≥ ${formatEnd(cut)}`
        : `in the top ${formatEnd(cut * 100)} % of each query's mass`;
    }),
    choose(kind) {
      batch(() => {
        numbers[store.threshold_kind.peek()] = store.threshold.peek();
        store.threshold_kind.value = kind;
        store.threshold.value = numbers[kind];
      });
    },
  };
}

/** How many there are, and how many of them are drawn: `strongest 2,000 of 5,210 lines ≥ 0.05`. */
export function counted({ store, passing }: { store: Store; passing: Passing }, edges: Edges, noun: string) {
  const { total, weights, whole } = edges;
  const few = total > weights.length ? `strongest ${grouped(weights.length)} of ` : "";
  const all = isWhole(store.visible.value, store.shown.value);
  const where = all ? "" : whole ? " in the window" : " in the part of the window that is here";
  return `${few}${grouped(total)} ${noun}${total === 1 ? "" : "s"} ${passing.words.value}${where}`;
}
