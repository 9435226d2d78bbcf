/** The head finder: what the grid is sorted, filtered and coloured by, and what is known of each head, in words. */

import type { DataSource } from "./datasource";
import { dots, formatEnd, formatWeight, grouped } from "./format";
import { headFacts } from "./keyheads";
import type { Range } from "./protocol";
import { answers } from "./rpc";
import { computed, type ReadonlySignal } from "./signals";
import type { HeadIndex, Store } from "./state";
import type { HeadsWant, Patterns } from "./wants";

/** The weight of the locked pair in every head stands beside the measures. */
export const PAIR = "pair";
/** What the grid is sorted by while it shows heads like another. */
const LIKE = "like";

/** As the wire has it, drawn like weights that are not known. */
const UNKNOWN = -1;

type Numbers = ArrayLike<number>;

export interface Finder {
  /** Heads in the order they are shown, without those left out; null: all, as layers and heads. */
  readonly flow: ReadonlySignal<readonly HeadIndex[] | null>;
  /** What the cells are coloured by, and from where to where; null: by their weights. */
  readonly colour: ReadonlySignal<{ values: Numbers; range: Range } | null>;
  /** What is shown, what is left out and what is missing, in words. */
  readonly words: ReadonlySignal<string>;
  /** What to ask the kernel for: for what is in use, or only to name the head under the pointer. */
  wants(naming?: boolean): HeadsWant[];
  /** What a head does most; "" while that is not known. */
  label(head: HeadIndex): string;
  /** The numbers in use of a head, its key-value head and its window. */
  facts(head: HeadIndex): string;
  /** Heads like the locked one first, or no longer. */
  toggleLike(): void;
}

export function createFinder(store: Store, source: DataSource): Finder {
  const { ascending, like, filter, colour_by, shown, locked } = store;
  const about = (name: string) =>
    store.meta.value.measures?.find(([each]) => each === name) ?? [name, name, ""];
  const ref = () => ({ stack: shown.value.stack.name, batch: shown.value.batch, layer: 0, head: 0 });
  const at = ({ layer, head }: HeadIndex) => layer * shown.value.stack.heads + head;
  const all = computed(() => {
    const { layers, heads } = shown.value.stack;
    return Array.from({ length: layers * heads }, (_, i) => ({
      layer: Math.floor(i / heads),
      head: i % heads,
    }));
  });
  const order = () => (like.value ? LIKE : store.sort.value);
  const used = computed(() => {
    const names = [order(), filter.value?.[0], colour_by.value];
    return [...new Set(names.filter((name): name is string => Boolean(name)))];
  });
  const measured = () => used.value.some((name) => name !== PAIR);
  const table = (): HeadsWant => ({ kind: "patterns", ref: ref() });
  const patterns = () => source.heads(table()) as Patterns | null;
  const pairWant = (): (HeadsWant & { kind: "pair" }) | null => {
    const { query, key } = locked.value;
    return query === null || key === null ? null : { kind: PAIR, ref: ref(), query, key };
  };
  const pair = computed<{ values: Numbers; exact: boolean } | null>(() => {
    const want = pairWant();
    if (!want) return null;
    const values = source.heads(want) as Float32Array | null;
    if (values) return { values, exact: true };
    // Small heads travel with the widget, and are read from their colours where there is no kernel.
    const cells = all.value.map((head) => source.cell({ ...want.ref, ...head }, want.query, want.key));
    const here = cells.every((cell) => cell?.cells === 1);
    return here ? { values: cells.map((cell) => cell!.value), exact: false } : null;
  });
  const values = (name: string | null | undefined): Numbers | null => {
    if (name === PAIR) return pair.value?.values ?? null;
    const found = name ? patterns() : null;
    if (!found) return null;
    const { measures, labels } = found;
    const row = (each: string) => {
      const start = measures.indexOf(each) * labels.length;
      return found.table.subarray(start, start + labels.length);
    };
    if (name !== LIKE) return row(name!);
    // Squares of the distance between their shares, as `Patterns.similar` has it.
    const from = at({ layer: like.value![0], head: like.value![1] });
    const shares = measures.filter((each) => !about(each)[2]).map(row);
    const apart = (i: number) =>
      shares.reduce((sum, share) => sum + ((share[i] || 0) - (share[from] || 0)) ** 2, 0);
    return labels.map((_, i) => (i === from ? 0 : Number.MIN_VALUE + apart(i)));
  };
  const offline = () => !answers(source);
  /** Whether what has this name is on its way. */
  const coming = (name: string | null | undefined) =>
    Boolean(name) && !values(name) && !offline() && (name !== PAIR || pairWant() !== null);
  let last: { of: object; heads: readonly HeadIndex[] | null } | null = null;
  const flow = computed(() => {
    // The order of another pair stands until that of the new one has come: the heads would jump about.
    const stands = last?.of === shown.value && (coming(order()) || coming(filter.value?.[0]));
    const heads = stands ? last!.heads : inOrder();
    last = { of: shown.value, heads };
    return heads;
  });
  const inOrder = () => {
    const name = order();
    const by = values(name);
    const among = values(filter.value?.[0]);
    if (!by && !among) return null;
    const heads = all.value.filter((head) => !among || among[at(head)]! >= filter.value![1]);
    const sign = ascending.value || name === LIKE ? 1 : -1;
    // What is not known, or does not apply, comes last.
    const rank = (head: HeadIndex) => (by![at(head)]! >= 0 ? sign * by![at(head)]! : 1e9);
    return by ? heads.sort((a, b) => rank(a) - rank(b)) : heads;
  };
  const colour = computed(() => {
    const found = values(colour_by.value);
    if (!found)
      return coming(colour_by.value)
        ? { values: all.value.map(() => UNKNOWN), range: [0, 1] as Range }
        : null;
    const most = Math.max(0, ...Array.from(found, (value) => value || 0));
    const range = (colour_by.value === PAIR && store.domain.value) || ([0, most || 1] as Range);
    return { values: found, range };
  });
  const number = (name: string, i: number) => {
    const value = values(name)![i]!;
    if (Number.isNaN(value)) return name === PAIR ? "masked" : "does not apply";
    const exact = name === PAIR ? pair.value!.exact : !patterns()!.rows;
    return value < 0 ? "not a number" : (exact ? "" : "≈ ") + formatWeight(value);
  };
  return {
    flow,
    colour,
    wants(naming) {
      if (!store.panels.value.includes("grid")) return [];
      if (naming) return store.hoverHead.value ? [table()] : [];
      const want = used.value.includes(PAIR) && pairWant();
      return [...(want ? [want] : []), ...(measured() ? [table()] : [])];
    },
    words: computed(() => {
      const found = patterns();
      const heads = flow.value;
      const range = colour.value?.range;
      const waiting = used.value.filter((name) => !values(name));
      return [
        heads && filter.value && `${grouped(heads.length)} of ${grouped(all.value.length)} heads`,
        like.value && `heads like ${like.value.join(".")} first, Esc ends`,
        range &&
          !coming(colour_by.value) &&
          `colour ${range.map((end) => formatEnd(end)).join(" – ")} ${about(colour_by.value!)[2]}`,
        found?.rows && measured() && `from ${grouped(found.rows)} of ${grouped(found.queries)} queries`,
        waiting.includes(PAIR) && !pairWant()
          ? "lock a query and a key to see them in every head"
          : waiting.length &&
            (offline()
              ? "this needs a running kernel"
              : `measuring heads, ${Math.floor(source.finding.value * 100)} %`),
      ]
        .filter(Boolean)
        .join(" · ");
    }),
    label: (head) => patterns()?.labels[at(head)] ?? "",
    facts(head) {
      const measured = used.value
        .filter((name) => name !== LIKE && values(name))
        .map((name) => `${about(name)[1]} ${number(name, at(head))} ${about(name)[2]}`.trim());
      return dots(...measured, headFacts(store, head));
    },
    toggleLike() {
      const { layer, head } = store.lockedHead.peek();
      like.value = like.peek() ? null : [layer, head];
    },
  };
}
