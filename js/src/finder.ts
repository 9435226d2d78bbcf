/** The head finder: what the grid is sorted, filtered and coloured by, and what is known of each head, in words. */

import type { DataSource } from "./datasource";
import { dots, grouped } from "./format";
import { colourRange, comparing, type HeadNumbers, numberWords, rangeWords, UNKNOWN } from "./headnumbers";
import { headFacts } from "./keyheads";
import type { AddedMap, Range } from "./protocol";
import { WEIGHTS } from "./reading";
import { answers } from "./rpc";
import { computed, type ReadonlySignal } from "./signals";
import type { HeadIndex, Store } from "./state";
import type { HeadsWant, Patterns } from "./wants";

/** The weight of the locked pair in every head stands beside the measures. */
export const PAIR = "pair";
/** What the grid is sorted by while it shows heads like another. */
const LIKE = "like";

export interface Finder {
  /** Heads in the order they are shown, without those left out; null: all, as layers and heads. */
  readonly flow: ReadonlySignal<readonly HeadIndex[] | null>;
  /** What the cells are coloured by, and from where to where; null: by their weights. */
  readonly colour: ReadonlySignal<{ numbers: HeadNumbers; range: Range } | null>;
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
  /** Maps that were added for this stack, whether they fit it or not. */
  const maps = computed(() => store.maps.value.filter(({ stack }) => stack === shown.value.stack.name));
  const added = (name: string) => maps.value.find((map) => map.name === name && map.why === undefined);
  const measured = () => used.value.some((name) => name !== PAIR && !added(name));
  const table = (): HeadsWant => ({ kind: "patterns", ref: ref() });
  const patterns = () => source.heads(table()) as Patterns | null;
  const pairWant = (): (HeadsWant & { kind: "pair" }) | null => {
    const { query, key } = locked.value;
    return query === null || key === null ? null : { kind: PAIR, ref: ref(), query, key };
  };
  const pair = computed<HeadNumbers | null>(() => {
    const want = pairWant();
    if (!want) return null;
    const sent = source.heads(want) as Float32Array | null;
    // Small heads travel with the widget, and are read from their colours where there is no kernel.
    const cells = sent
      ? []
      : all.value.map((head) => source.cell({ ...want.ref, ...head }, want.query, want.key));
    if (!sent && !cells.every((cell) => cell?.cells === 1)) return null;
    const shares = sent ?? cells.map((cell) => cell!.value);
    // Of lift it is the weight that is asked for.
    const { kind, of } = shown.value.stack.measure ? store.reading.value : WEIGHTS;
    const signed = kind === "signed";
    return {
      ...{ label: about(PAIR)[1], unit: "", lacking: "masked", signed, about: sent ? "" : "≈" },
      values: Array.from(shares, (share) => (share < 0 ? UNKNOWN : of(share))),
      range: store.domain.value,
    };
  });
  const mapWant = ({ id }: AddedMap): HeadsWant => ({ kind: "map", ref: ref(), index: id });
  const mapped = (map: AddedMap): HeadNumbers | null => {
    const sent = source.heads(mapWant(map)) as Float32Array | null;
    const count = all.value.length;
    return sent && { ...map, values: sent.subarray(0, count), spread: sent.subarray(count) };
  };
  const numbers = (name: string | null | undefined): HeadNumbers | null => {
    if (!name || name === PAIR) return name ? pair.value : null;
    const map = added(name);
    if (map) return mapped(map);
    const found = patterns();
    if (!found || !(name === LIKE || found.measures.includes(name))) return null;
    const { measures, labels, rows } = found;
    const row = (each: string) => {
      const start = measures.indexOf(each) * labels.length;
      return found.table.subarray(start, start + labels.length);
    };
    const [, label, unit] = about(name);
    const made = { label, unit, lacking: "does not apply", signed: false, about: rows ? "≈" : "" };
    if (name !== LIKE) return { ...made, values: row(name) };
    // Squares of the distance between their shares, as `Patterns.similar` has it.
    const from = at({ layer: like.value![0], head: like.value![1] });
    const shares = measures.filter((each) => !about(each)[2]).map(row);
    const apart = (i: number) =>
      shares.reduce((sum, share) => sum + ((share[i] || 0) - (share[from] || 0)) ** 2, 0);
    return { ...made, values: labels.map((_, i) => (i === from ? 0 : Number.MIN_VALUE + apart(i))) };
  };
  const offline = () => !answers(source);
  /** Whether what has this name is on its way. */
  const coming = (name: string | null | undefined) =>
    Boolean(name) && !numbers(name) && !offline() && (name !== PAIR || pairWant() !== null);
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
    const by = numbers(name);
    const among = numbers(filter.value?.[0])?.values;
    if (!by && !among) return null;
    const passes = (value: number) => Number.isFinite(value) && value >= filter.value![1];
    const heads = all.value.filter((head) => !among || passes(among[at(head)]!));
    if (!by) return heads;
    const sooner = comparing(by, ascending.value || name === LIKE);
    return heads.sort((a, b) => sooner(at(a), at(b)));
  };
  const colour = computed(() => {
    const found = numbers(colour_by.value);
    if (found) return { numbers: found, range: colourRange(found) };
    if (!coming(colour_by.value)) return null;
    const none = { label: "", unit: "", lacking: "", signed: false, values: all.value.map(() => UNKNOWN) };
    return { numbers: none, range: [0, 1] as Range };
  });
  return {
    flow,
    colour,
    wants(naming) {
      if (!store.panels.value.includes("grid")) return [];
      if (naming) return store.hoverHead.value ? [table()] : [];
      const want = used.value.includes(PAIR) && pairWant();
      const inUse = maps.value.filter(({ name }) => added(name) && used.value.includes(name));
      return [...(want ? [want] : []), ...inUse.map(mapWant), ...(measured() ? [table()] : [])];
    },
    words: computed(() => {
      const found = patterns();
      const heads = flow.value;
      const coloured = colour.value;
      const waiting = used.value.filter((name) => !numbers(name));
      return [
        heads && filter.value && `${grouped(heads.length)} of ${grouped(all.value.length)} heads`,
        like.value && `heads like ${like.value.join(".")} first, Esc ends`,
        coloured && !coming(colour_by.value) && `colour ${rangeWords(coloured.numbers, coloured.range)}`,
        found?.rows && measured() && `from ${grouped(found.rows)} of ${grouped(found.queries)} queries`,
        waiting.includes(PAIR) && !pairWant()
          ? "lock a query and a key to see them in every head"
          : waiting.length &&
            (offline()
              ? "this needs a running kernel"
              : waiting.some((name) => !added(name)) &&
                `measuring heads, ${Math.floor(source.finding.value * 100)} %`),
        ...maps.value.map(({ title, why }) => why && `“${title}” is left out: ${why}`),
      ]
        .filter(Boolean)
        .join(" · ");
    }),
    label: (head) => patterns()?.labels[at(head)] ?? "",
    facts(head) {
      const measured = used.value
        .flatMap((name) => (name === LIKE ? [] : (numbers(name) ?? [])))
        .map((each) => numberWords(each, at(head)));
      return dots(...measured, headFacts(store, head));
    },
    toggleLike() {
      const { layer, head } = store.lockedHead.peek();
      like.value = like.peek() ? null : [layer, head];
    },
  };
}
