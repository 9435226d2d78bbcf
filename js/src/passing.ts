/** Which pairs are drawn as lines and arcs: those whose weight, or whose part of a query's mass, passes the threshold. */

import type { DataSource, HeadRef } from "./datasource";
import { type Edges, singleCelled, strongestEdges, strongestOfHeads } from "./edges";
import { formatEnd, formatShare, grouped } from "./format";
import { keeps, massCut, type RowCut } from "./mass";
import type { Aimed } from "./panels/pairs";
import type { ThresholdKind } from "./protocol";
import { answers } from "./rpc";
import { batch, computed, type ReadonlySignal } from "./signals";
import { WHOLE_VALUES } from "./source";
import type { Store } from "./state";
import { strongest } from "./strongest";
import { headKey } from "./wants";
import { isWhole, type Window } from "./window";

/** Pairs drawn at most: the strongest. */
export const MOST_EDGES = 2000;
/** Answers that are remembered. */
const REMEMBERED = 64;

export interface Passing {
  /** The heads that are drawn together. */
  readonly heads: ReadonlySignal<readonly HeadRef[]>;
  /** What of them is in the window, weakest first; in a gesture those from before. Null where none is known pair by pair. */
  readonly edges: ReadonlySignal<Edges | null>;
  /** The places on a row or column of a head that pass, strongest first; empty where what is here cannot tell. */
  along(ref: HeadRef, line: Aimed): readonly number[];
  /** Why `along` cannot tell, or "". */
  waits(ref: HeadRef, line: Aimed): string;
  /** The threshold: no less than what stands for 0. */
  readonly least: ReadonlySignal<number>;
  /** Why weights are not here, in words. */
  readonly later: ReadonlySignal<string>;
  /** What passes, in words that follow others: ` ≥ 0.05`, "" where all does. */
  readonly words: ReadonlySignal<string>;
  /** Another kind comes with the number it had last. */
  choose(kind: ThresholdKind): void;
}

export function passing(store: Store, source: DataSource): Passing {
  const numbers: Record<ThresholdKind, number> = { weight: 0, mass: 0.9 };
  // Rows of weights alone have a mass.
  const byWeight = () => store.threshold_kind.value === "weight" || store.reading.value.kind !== "weight";
  // What is below 0 has no strength to be drawn with.
  const least = computed(() => {
    const { kind, share } = store.reading.value;
    return kind === "signed" ? Math.max(store.cut.value, share(0)) : store.cut.value;
  });
  const memory = new Map<string, readonly [basis: object, found: unknown]>();
  /** What is found in `basis` with the threshold as it is. */
  const remembered = <T>(what: string, ref: HeadRef, basis: object, find: () => T): T => {
    const name = `${what} ${byWeight()} ${least.value} ${headKey(ref)}`;
    let known = memory.get(name);
    if (known?.[0] !== basis) {
      if (memory.size >= REMEMBERED) memory.clear();
      known = [basis, find()];
      memory.set(name, known);
    }
    return known[1] as T;
  };
  /** The picture of a head that has a cell for every pair, if there is one: pooled cells would claim what is not known. */
  const pairByPair = (ref: HeadRef) => {
    const { queries, keys } = store.shown.value;
    const tile = source.detail(ref) ?? source.thumbnail(ref);
    return singleCelled(tile, queries, keys) ? tile : null;
  };
  /** What each query of a head keeps by mass; null where its whole rows are not here. */
  const cuts = (ref: HeadRef): RowCut[] | null => {
    const { queries, keys } = store.shown.value;
    const first = queries * keys <= WHOLE_VALUES ? source.row(ref, 0) : null;
    // The rows of a head that comes all at once lie in one buffer.
    const basis = first?.exact ? first.values.buffer : pairByPair(ref);
    const row = (_: unknown, query: number) => massCut(source.row(ref, query)!.values, least.value);
    return basis && remembered("rows", ref, basis, () => Array.from({ length: queries }, row));
  };

  const massEdges = (ref: HeadRef, window: Window): Edges | null => {
    const kept = cuts(ref);
    if (!kept) return null;
    const [[q0, q1], [k0, k1]] = [window.queries, window.keys];
    const found: [query: number, key: number][] = [];
    const weights: number[] = [];
    for (let query = Math.floor(q0); query < q1; query++) {
      const { values } = source.row(ref, query)!;
      for (let key = Math.floor(k0); key < k1; key++)
        if (keeps(kept[query]!, values[key]!, key)) {
          found.push([query, key]);
          weights.push(values[key]!);
        }
    }
    const order = strongest(weights, MOST_EDGES).reverse();
    return {
      queries: Uint32Array.from(order, (i) => found[i]![0]),
      keys: Uint32Array.from(order, (i) => found[i]![1]),
      weights: Float32Array.from(order, (i) => weights[i]!),
      heads: new Uint16Array(order.length),
      total: weights.length,
      whole: true,
    };
  };

  const heads = store.drawnHeads;
  let last: Edges | null = null;
  let lastOf: readonly HeadRef[] = [];
  const edges = computed(() => {
    const refs = heads.value;
    if (store.draftWindow.value !== null && refs === lastOf) return last;
    lastOf = refs;
    const window = store.visible.value;
    const of = (ref: HeadRef) =>
      byWeight()
        ? strongestEdges(source.placed(ref, window, 1), window, least.value, MOST_EDGES)
        : massEdges(ref, window);
    last = strongestOfHeads(refs.map(of), MOST_EDGES);
    return last;
  });

  const later = computed(() =>
    answers(source) ? "once the exact weights are here" : "need a running kernel",
  );
  const waits = (ref: HeadRef, line: Aimed): string => {
    if (!line.exact && !pairByPair(ref)) return later.value;
    const tells = byWeight() || line.side === "query" || cuts(ref);
    return tells ? "" : "by mass need every query's whole row, too much to hold here";
  };
  return {
    ...{ heads, edges, least, waits, later },
    along(ref, line) {
      if (waits(ref, line)) return [];
      const { values, side, index } = line;
      return remembered("line", ref, values, () => {
        if (byWeight()) return strongest(values, MOST_EDGES, least.value);
        if (side === "key") {
          const rows = cuts(ref)!;
          return strongest(values, MOST_EDGES).filter((i) => keeps(rows[i]!, values[i]!, index));
        }
        const row = massCut(values, least.value);
        return strongest(values, MOST_EDGES, row.least).filter((i) => keeps(row, values[i]!, i));
      });
    },
    words: computed(() => {
      const cut = least.value;
      if (byWeight()) return cut ? ` ≥ ${formatShare(cut, store.reading.value)}` : "";
      return ` in the top ${formatEnd(cut * 100)} % of each query's mass`;
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
export function counted(
  { store, passing }: { store: Store; passing: Passing },
  edges: Edges,
  noun: string,
  of = "",
) {
  const { total, weights, whole } = edges;
  const few = total > weights.length ? `strongest ${grouped(weights.length)} of ` : "";
  const all = isWhole(store.visible.value, store.shown.value);
  const where = all ? "" : whole ? " in the window" : " in the part of the window that is here";
  return `${few}${grouped(total)} ${noun}${total === 1 ? "" : "s"}${passing.words.value}${of}${where}`;
}
