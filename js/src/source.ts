/** Where weights come from: a cache in front of what travelled with the widget and of the kernel. */

import { ask, type Batch } from "./ask";
import { Cache } from "./cache";
import { shrunk, type Tile } from "./codes";
import type {
  CellValue,
  DataSource,
  HeadRef,
  HeadShape,
  Line,
  Marginals,
  PairDetail,
  Placed,
} from "./datasource";
import { readEmbed } from "./embed";
import { Layers } from "./layers";
import { MAX_IN_FLIGHT, THUMBNAIL } from "./protocol";
import { Queue } from "./queue";
import { Refining } from "./refining";
import { type Answer, type Link, type Rpc, RpcError } from "./rpc";
import { computed, effect, type ReadonlySignal, signal } from "./signals";
import { Strips } from "./strips";
import {
  type HeadsWant,
  type Item,
  type Patterns,
  type Refusal,
  type TileWant,
  type Want,
  wantKey,
} from "./wants";
import type { Window } from "./window";

/** What a pair takes, about, or why there is none. */
const PAIR_BYTES = 4096;

/** The phase of wants whose progress is told. */
const REFINED = 1;

/** Bytes of tiles, rows and blocks that are kept; what is wanted now is never dropped. */
const BUDGET = 64 * 2 ** 20;

/** Heads up to this many cells are fetched whole as floats; larger ones row by row. */
export const WHOLE_VALUES = 262144;

export interface SourceOptions {
  shape(ref: HeadRef): HeadShape;
  /** Runs a function once, at the next frame. */
  schedule(run: () => void): void;
}

export class TileSource implements DataSource {
  readonly version = signal(0);
  readonly problem = signal<string | null>(null);
  readonly progress = signal<number | null>(null);
  readonly finding = signal(0);
  readonly link: ReadonlySignal<Link>;
  readonly #cache = new Cache<Item>(BUDGET, (key) => this.#queue.wanted(key));
  /** What travelled with the widget costs no message and is never dropped. */
  readonly #embedded = new Map<string, Tile>();
  readonly #layers: Layers;
  #refining = new Refining();
  #strips = new Strips(this.#cache);
  readonly #queue = new Queue((want) => this.has(want));
  #reading = 0;
  /** Goes up with each other capture: what was asked for about the ones before is not taken any more. */
  #age = 0;
  #scheduled = false;

  constructor(
    readonly rpc: Rpc | null,
    readonly options: SourceOptions,
  ) {
    this.link = rpc ? computed(() => rpc.link.value) : signal<Link>("static");
    this.#layers = new Layers(options.shape, (want) => this.#here(want));
    // A kernel that answers again is asked for what is still missing.
    effect(() => {
      void this.link.value;
      this.#measure();
      this.#schedule();
    });
  }

  /** Takes in the `embed` trait. Nothing is asked for until it has been read. */
  async embed(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#reading++;
    const age = this.#age;
    try {
      for (const [t, tile] of await readEmbed(bytes)) {
        if (age !== this.#age) break;
        const shape = this.options.shape(t);
        const whole = t.queries[1] - t.queries[0] === shape.queries && t.keys[1] - t.keys[0] === shape.keys;
        if (!whole) continue;
        this.#embedded.set(wantKey({ kind: t.dtype === "u8" ? "thumbnail" : "detail", ref: t }), tile);
        // The small picture of a head is in its large one.
        if (t.dtype !== "u8")
          this.#embedded.set(wantKey({ kind: "thumbnail", ref: t }), shrunk(tile, THUMBNAIL));
      }
    } catch (error) {
      this.problem.value = `The weights stored with this widget cannot be read: ${(error as Error).message}`;
    }
    this.#reading--;
    this.version.value++;
    this.#schedule();
  }

  /** Forgets everything: it was about another capture. */
  reset(): void {
    this.#age++;
    this.#cache.clear();
    this.#embedded.clear();
    this.#refining = new Refining();
    this.#strips = new Strips(this.#cache);
    this.#queue.pending.clear();
    this.retry();
    this.version.value++;
  }

  thumbnail(ref: HeadRef): Tile | null {
    void this.version.value;
    const { queries, keys } = this.options.shape(ref);
    const small = Math.max(queries, keys) <= THUMBNAIL;
    return this.#here({ kind: "thumbnail", ref }) ?? (small ? this.#here({ kind: "detail", ref }) : null);
  }

  detail(ref: HeadRef): Tile | null {
    void this.version.value;
    return this.#here({ kind: "detail", ref });
  }

  placed(ref: HeadRef, window: Window, scale: number): readonly Placed[] {
    void this.version.value;
    return this.#layers.placed(ref, window, scale);
  }

  marginals(ref: HeadRef, window: Window): Marginals | null {
    void this.version.value;
    return this.#strips.over(ref, window);
  }

  row(ref: HeadRef, query: number): Line | null {
    const { keys } = this.options.shape(ref);
    const whole = this.#floats({ kind: "values", ref })?.subarray(query * keys, (query + 1) * keys);
    const values = whole ?? this.#floats({ kind: "row", ref, index: query });
    if (values) return { values, exact: true };
    const seen = this.#layers.line(ref, "queries", query);
    return seen && { values: seen, exact: false };
  }

  column(ref: HeadRef, key: number): Line | null {
    const { queries, keys } = this.options.shape(ref);
    const whole = this.#floats({ kind: "values", ref });
    const values = whole
      ? Float32Array.from({ length: queries }, (_, q) => whole[q * keys + key]!)
      : this.#floats({ kind: "column", ref, index: key });
    if (values) return { values, exact: true };
    const seen = this.#layers.line(ref, "keys", key);
    return seen && { values: seen, exact: false };
  }

  cell(ref: HeadRef, query: number, key: number): CellValue | null {
    const { keys } = this.options.shape(ref);
    const value =
      this.#floats({ kind: "values", ref })?.[query * keys + key] ??
      this.#floats({ kind: "row", ref, index: query })?.[key] ??
      this.#floats({ kind: "column", ref, index: key })?.[query];
    if (value !== undefined) return { value, exact: true, cells: 1 };
    const seen = this.#layers.cell(ref, query, key);
    return seen && { ...seen, exact: false };
  }

  pair(ref: HeadRef, query: number, key: number): PairDetail | Refusal | null {
    void this.version.value;
    const found = this.#cache.get(wantKey({ kind: "qk", ref, query, key }));
    return (found as PairDetail | Refusal | undefined) ?? null;
  }

  heads(want: HeadsWant): Patterns | Float32Array | null {
    void this.version.value;
    return (this.#cache.get(wantKey(want)) as Patterns | Float32Array | undefined) ?? null;
  }

  want(owner: object, ...phases: readonly (readonly Want[])[]): void {
    this.#queue.put(owner, phases);
    this.#measure();
    this.#schedule();
  }

  has(want: Want): boolean {
    if (want.kind === "refine") return !this.#here(want.of)?.rows;
    if (want.kind === "thumbnail" && this.thumbnail(want.ref)) return true;
    const key = wantKey(want);
    return this.#embedded.has(key) || this.#cache.has(key);
  }

  ask(method: string, params: unknown): Promise<Answer> {
    return this.rpc?.request(method, params) ?? Promise.reject(new RpcError("static", "there is no kernel"));
  }

  retry(): void {
    this.#queue.failed.clear();
    this.problem.value = null;
    this.#schedule();
  }

  #here(want: TileWant): Tile | null {
    const key = wantKey(want);
    return this.#embedded.get(key) ?? (this.#cache.get(key) as Tile | undefined) ?? null;
  }

  #floats(want: Want): Float32Array | undefined {
    void this.version.value;
    return this.#cache.get(wantKey(want)) as Float32Array | undefined;
  }

  #schedule(): void {
    if (this.#scheduled || !this.rpc) return;
    this.#scheduled = true;
    this.options.schedule(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  /** One message per method and turn: first what the eye is on. Superseded wants never leave the page. */
  #pump(): void {
    const rpc = this.rpc;
    if (!rpc || this.#reading) return;
    const { open, refine } = this.#queue.open();
    while (open.size && rpc.free > 0) {
      const batch = ask([...open.values()], this.options.shape);
      for (const want of batch.wants) open.delete(wantKey(want));
      this.#send(rpc, batch);
    }
    // Slices of a refinement go one at a time, and only while the kernel has nothing else to do for us.
    if (refine && !open.size && rpc.free === MAX_IN_FLIGHT)
      this.#send(rpc, ask([refine], this.options.shape));
  }

  #send(rpc: Rpc, batch: Batch): void {
    for (const want of batch.wants) this.#queue.pending.add(wantKey(want));
    const age = this.#age;
    rpc
      .request(batch.method, batch.params)
      .then(({ ok, buffers }) => {
        if (age === this.#age) this.#store(batch.take(ok, buffers));
      })
      .catch((error: unknown) => {
        if (age === this.#age) this.#fail(batch.wants, error);
      })
      .finally(() => {
        if (age === this.#age) for (const want of batch.wants) this.#queue.pending.delete(wantKey(want));
        this.#measure();
        this.#schedule();
      });
  }

  #store(items: readonly (readonly [Want, Item | number])[]): void {
    let came = false;
    for (const [want, item] of items) {
      if (typeof item === "number") {
        if (want.kind === "patterns") this.finding.value = item;
        else this.#refining.note(want, item);
        continue;
      }
      came = true;
      this.#keep(want, item);
      if (want.kind === "marginals") this.#strips.add(want);
      // The small picture of a head is in its large one.
      if (want.kind === "detail" && this.thumbnail(want.ref)?.rows !== null) {
        const tile = item as Tile;
        if (!tile.rows) this.#keep({ kind: "thumbnail", ref: want.ref }, shrunk(tile, THUMBNAIL));
      }
    }
    if (came) this.version.value++;
  }

  #keep(want: Want, item: Item): void {
    const key = wantKey(want);
    if (this.#embedded.has(key)) this.#embedded.set(key, item as Tile);
    else this.#cache.set(key, item, bytesOf(item));
  }

  #measure(): void {
    const link = this.link.peek();
    const asks = link === "live" || link === "busy";
    this.progress.value = this.#refining.progress(asks ? this.#queue.phase(REFINED) : [], (want) =>
      this.#here(want),
    );
  }

  #fail(wants: readonly Want[], error: unknown): void {
    const code = error instanceof RpcError ? error.code : "malformed";
    if (["static", "gone", "lost", "superseded"].includes(code)) return;
    if (code === "unavailable") {
      this.#store(wants.map((want) => [want, { why: (error as RpcError).message }]));
      return;
    }
    for (const want of wants) this.#queue.failed.add(wantKey(want));
    const text = error instanceof Error ? error.message : String(error);
    this.problem.value =
      code === "malformed"
        ? `The kernel's answer cannot be read: ${text}`
        : `The kernel could not answer (${code}): ${text}`;
  }
}

function bytesOf(item: Item): number {
  if ("table" in item) return item.table.byteLength;
  if ("codes" in item) return item.codes.byteLength;
  return "received" in item
    ? item.received.byteLength + item.entropy.byteLength
    : "byteLength" in item
      ? item.byteLength
      : PAIR_BYTES;
}
