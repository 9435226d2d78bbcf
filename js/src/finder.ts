/** The head finder: what the grid is sorted, filtered and coloured by, and what is known of each head, in words. */
import { formatWeight, grouped } from "./format";
import type { Range } from "./protocol";
import { computed, type ReadonlySignal } from "./signals";
import type { DataSource, HeadRef } from "./source";
import type { HeadIndex, Store } from "./state";
import type { HeadsWant, Patterns, Want } from "./wants";

/** The locked pair in every head stands beside the measures. */
export const PAIR = "pair";

export interface Finder {
  readonly patterns: ReadonlySignal<Patterns | null>;
  /** Heads in the order they are shown, without those left out; null: all, as layers and heads. */
  readonly flow: ReadonlySignal<readonly HeadIndex[] | null>;
  /** What the cells are coloured by and from where to where; null: by their weights. */
  readonly colour: ReadonlySignal<{ values: Float32Array; range: Range } | null>;
  /** What to ask the kernel for: what is used now, and what would only be named. */
  readonly wants: ReadonlySignal<{ used: readonly Want[]; named: readonly Want[] }>;
  /** What is shown, what is left out and what is missing, in words. */
  readonly words: ReadonlySignal<string>;
  /** What a head does most; "" while that is not known. */
  label(head: HeadIndex): string;
  /** The numbers in use of a head, its key-value head and its window. */
  facts(head: HeadIndex): string;
  /** A measure as it is called on screen. */
  title(name: string): string;
  /** Heads like the locked one first, or no longer. */
  toggleLike(): void;
}

/** The key-value head of a head, and the heads that share it; null where each has its own, or it is not known. */
export function keyHead(store: Store, { layer, head }: HeadIndex): { index: number; heads: Range } | null {
  const { heads, key_heads } = store.shown.value.stack;
  const group = heads / (key_heads?.[layer] ?? heads);
  if (!(group > 1) || group % 1) return null;
  const index = Math.floor(head / group);
  return { index, heads: [index * group, (index + 1) * group - 1] };
}

export function windowOf(store: Store, layer: number): number | null {
  return store.shown.value.stack.windows?.[layer] ?? null;
}

export function createFinder(store: Store, source: DataSource): Finder {
  const { sort, ascending, like, filter, colour_by } = store;
  const ref = (): HeadRef => {
    const { stack, batch } = store.shown.value;
    return { stack: stack.name, batch, layer: 0, head: 0 };
  };
  const measures = () => store.meta.value.measures ?? [];
  const title = (name: string) =>
    name === PAIR ? "locked pair" : (measures().find(([each]) => each === name)?.[1] ?? name);
  const used = computed(() => [
    ...new Set(
      [like.value ? "like" : sort.value, filter.value?.[0], colour_by.value].filter((n) => n != null),
    ),
  ]);
  const patterns = computed(() => source.patterns(ref()));
  const all = () => {
    const { layers, heads } = store.shown.value.stack;
    return Array.from({ length: layers * heads }, (_, i) => ({
      layer: Math.floor(i / heads),
      head: i % heads,
    }));
  };
  const pair = computed(() => {
    const { query, key } = store.locked.value;
    if (query === null || key === null) return null;
    const exact = source.pair(ref(), query, key);
    if (exact) return { values: exact, exact: true };
    // Small heads travel with the widget, and are read from their colours where there is no kernel.
    const cells = all().map((index) => source.cell({ ...ref(), ...index }, query, key));
    if (!cells.every((cell) => cell?.cells === 1)) return null;
    return { values: Float32Array.from(cells, (cell) => cell!.value), exact: false };
  });
  const values = (name: string): Float32Array | null => {
    if (name === PAIR) return pair.value?.values ?? null;
    const found = patterns.value;
    const row = found?.measures.indexOf(name) ?? -1;
    if (!found || row < 0) return null;
    const n = found.labels.length;
    return found.table.subarray(row * n, (row + 1) * n);
  };
  const at = ({ layer, head }: HeadIndex) => layer * store.shown.value.stack.heads + head;
  /** How far heads are from one, by their shares, as `Patterns.similar` has it. */
  const apart = (from: number): number[] | null => {
    const found = patterns.value;
    if (!found) return null;
    const shares = measures()
      .filter(([, , unit]) => unit === "share")
      .map(([name]) => Array.from(values(name) ?? [], (v) => v || 0));
    return found.labels.map((_, i) =>
      i === from ? -1 : shares.reduce((sum, share) => sum + (share[i]! - share[from]!) ** 2, 0),
    );
  };
  const flow = computed(() => {
    const bounds = filter.value;
    const among = bounds && values(bounds[0]);
    const anchor = like.value;
    const by = anchor
      ? apart(at({ layer: anchor[0], head: anchor[1] }))
      : sort.value
        ? values(sort.value)
        : null;
    if (!among && !by) return null;
    let heads = all();
    if (among)
      heads = heads.filter((head) => {
        const value = among[at(head)]!;
        return value >= (bounds[1] ?? -Infinity) && value <= (bounds[2] ?? Infinity);
      });
    const sign = anchor || ascending.value ? 1 : -1;
    // What is not known, or does not apply, comes last.
    const rank = (head: HeadIndex) => {
      const value = by![at(head)]!;
      return value >= 0 || anchor ? sign * value : Infinity;
    };
    return by ? heads.sort((a, b) => rank(a) - rank(b) || 0) : heads;
  });
  const colour = computed(() => {
    const name = colour_by.value;
    const found = name ? values(name) : null;
    if (!found) return null;
    const range =
      (name === PAIR && store.domain.value) || ([0, Math.max(...found.filter((v) => v >= 0)) || 1] as Range);
    return { values: found, range };
  });
  const isPair = (name: string) => name === PAIR;
  const missing = () => {
    const { query, key } = store.locked.value;
    const lines: string[] = [];
    const offline = source.link.value === "static" || source.link.value === "gone";
    const waits = used.value.filter((name) => (name === "like" ? !patterns.value : !values(name)));
    if (waits.some(isPair) && (query === null || key === null))
      lines.push("lock a query and a key to see their weight in every head");
    else if (waits.length)
      lines.push(
        offline
          ? "needs a kernel: run the cell again"
          : `measuring heads, ${Math.floor(source.finding.value * 100)} %`,
      );
    for (const name of used.value)
      if (values(name)?.every((v) => Number.isNaN(v)))
        lines.push(
          isPair(name) ? "the mask does not allow this pair" : `${title(name)}: not between different tokens`,
        );
    return lines;
  };
  const unit = (name: string) => {
    const found = measures().find(([each]) => each === name)?.[2];
    return found && found !== "share" ? ` ${found}` : "";
  };
  const number = (name: string, i: number): string => {
    const value = values(name)?.[i];
    if (value === undefined || !(value >= 0)) return value === -1 ? "not a number" : "–";
    const rough = isPair(name) && !pair.value?.exact ? "≈ " : "";
    const found = patterns.value;
    const off =
      !isPair(name) && found?.rows
        ? found.errors[found.measures.indexOf(name) * found.labels.length + i]!
        : 0;
    return `${rough}${formatWeight(value)}${off ? ` ± ${formatWeight(off)}` : ""}${unit(name)}`;
  };
  return {
    patterns,
    flow,
    colour,
    title,
    wants: computed(() => {
      const grid = store.panels.value.includes("grid");
      const { query, key } = store.locked.value;
      const table: HeadsWant = { kind: "patterns", ref: ref() };
      const wants: HeadsWant[] = [];
      if (grid && used.value.some((name) => !isPair(name))) wants.push(table);
      if (grid && used.value.some(isPair) && query !== null && key !== null)
        wants.push({ kind: "pair", ref: ref(), query, key });
      return { used: wants, named: grid && store.hoverHead.value ? [table] : [] };
    }),
    words: computed(() => {
      const { layers, heads } = store.shown.value.stack;
      const shown = flow.value;
      const found = patterns.value;
      const lines = missing();
      if (shown && filter.value)
        lines.unshift(`${grouped(shown.length)} of ${grouped(layers * heads)} heads`);
      if (shown && like.value) lines.unshift(`most like layer ${like.value.join(" head ")} first`);
      if (found?.rows && used.value.some((name) => !isPair(name)))
        lines.push(`from ${grouped(found.rows)} of ${grouped(found.queries)} queries`);
      if (used.value.some(isPair) && pair.value && !pair.value.exact) lines.push("read from the colours");
      return lines.join(" · ");
    }),
    label: (head) => patterns.value?.labels[at(head)] ?? "",
    facts(head) {
      const shared = keyHead(store, head);
      const window = windowOf(store, head.layer);
      return [
        ...used.value
          .filter((name) => values(name))
          .map((name) => `${title(name)} ${number(name, at(head))}`),
        ...(shared ? [`kv head ${shared.index}`] : []),
        ...(window ? [`window ${grouped(window)}`] : []),
      ].join(" · ");
    },
    toggleLike() {
      const { layer, head } = store.lockedHead.peek();
      like.value = like.peek() ? null : [layer, head];
    },
  };
}
