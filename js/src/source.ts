/** Where weights come from: a cache in front of what travelled with the widget and of the kernel. */

import type { Aggregate } from "./aggregates";
import { ask, type Batch } from "./ask";
import { Cache } from "./cache";
import { shrunk, type Tile } from "./codes";
import { readEmbed } from "./embed";
import { Layers } from "./layers";
import { MAX_IN_FLIGHT, THUMBNAIL } from "./protocol";
import { Queue } from "./queue";
import { Refining } from "./refining";
import { type Link, type Rpc, RpcError } from "./rpc";
import { computed, effect, type ReadonlySignal, type Signal, signal } from "./signals";
import { Strips } from "./strips";
import { type Item, type TileWant, type Want, wantKey } from "./wants";
import type { Window } from "./window";

export interface HeadRef {
  stack: string;
  batch: number;
  layer: number;
  head: number;
  /** Many heads in the place of this one. */
  aggregate?: Aggregate;
}

export interface HeadShape {
  queries: number;
  keys: number;
}

/** A row or a column of a head: NaN where masked, -1 where unknown; exact once the kernel has sent floats. */
export interface Line {
  values: Float32Array;
  exact: boolean;
}

/** A tile and the tokens it lies over. */
export interface Placed extends Window {
  tile: Tile;
  /** Cells of 2^level tokens a side from the start of the ranges; without it, bins as even as they can be. */
  level?: number;
}

/** Strips along the axes of a window, in `width` and `height` bins as even as they can be. */
export interface Marginals extends Window {
  /** Per bin of keys: the mean weight that a key receives from the queries that may look at it. */
  received: Float32Array;
  /** Per bin of queries: the mean entropy of their rows, in bits; NaN where no query may look at anything. */
  entropy: Float32Array;
  /** Queries that `received` was measured on; null: all of them. */
  rows: number | null;
}

export interface DataSource {
  /** Goes up whenever something has arrived; whoever asks for weights inside an effect reads it too. */
  readonly version: ReadonlySignal<number>;
  readonly link: ReadonlySignal<Link>;
  /** Why weights that were asked for did not come; null while all is well. */
  readonly problem: Signal<string | null>;
  thumbnail(ref: HeadRef): Tile | null;
  detail(ref: HeadRef): Tile | null;
  /** The tiles to draw for a window at `scale` device pixels a token, coarsest first, each over those before it. */
  placed(ref: HeadRef, window: Window, scale: number): readonly Placed[];
  /** What keys receive and how wide queries look, over a window that holds this one; null until it has come. */
  marginals(ref: HeadRef, window: Window): Marginals | null;
  /** How far the refinement of the shown head's pictures is, from 0 to 1; null when none is going on. */
  readonly progress: ReadonlySignal<number | null>;
  row(ref: HeadRef, query: number): Line | null;
  column(ref: HeadRef, key: number): Line | null;
  cell(ref: HeadRef, query: number, key: number): CellValue | null;
  /**
   * Replaces what `owner` needs, most urgent first, in phases: none of a phase is asked for while something of an earlier
   * one is still to be refined. What was not asked for yet is forgotten.
   */
  want(owner: object, ...phases: readonly (readonly Want[])[]): void;
  /** Whether nothing of these is still to come. */
  has(want: Want): boolean;
  retry(): void;
}

/** A weight: exact, or read from the finest cell that is here, which stands for so many pairs. */
export interface CellValue {
  value: number;
  exact: boolean;
  cells?: number;
}

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
  readonly link: ReadonlySignal<Link>;
  readonly #cache = new Cache<Item>(BUDGET, (key) => this.#queue.wanted(key));
  /** What travelled with the widget costs no message and is never dropped. */
  readonly #embedded = new Map<string, Tile>();
  readonly #layers: Layers;
  readonly #refining = new Refining();
  readonly #strips = new Strips(this.#cache);
  readonly #queue = new Queue((want) => this.has(want));
  #reading = 0;
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
    try {
      for (const [t, tile] of await readEmbed(bytes)) {
        const shape = this.options.shape(t);
        const whole = t.queries[1] - t.queries[0] === shape.queries && t.keys[1] - t.keys[0] === shape.keys;
        if (whole)
          this.#embedded.set(wantKey({ kind: t.dtype === "u8" ? "thumbnail" : "detail", ref: t }), tile);
      }
    } catch (error) {
      this.problem.value = `The weights stored with this widget cannot be read: ${(error as Error).message}`;
    }
    this.#reading--;
    this.version.value++;
    this.#schedule();
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
    rpc
      .request(batch.method, batch.params)
      .then(({ ok, buffers }) => this.#store(batch.take(ok, buffers)))
      .catch((error: unknown) => this.#fail(batch.wants, error))
      .finally(() => {
        for (const want of batch.wants) this.#queue.pending.delete(wantKey(want));
        this.#measure();
        this.#schedule();
      });
  }

  #store(items: readonly (readonly [Want, Item | number])[]): void {
    let came = false;
    for (const [want, item] of items) {
      if (typeof item === "number") {
        this.#refining.note(want, item);
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
    if (code === "static" || code === "gone" || code === "lost") return;
    for (const want of wants) this.#queue.failed.add(wantKey(want));
    const text = error instanceof Error ? error.message : String(error);
    this.problem.value =
      code === "malformed"
        ? `The kernel's answer cannot be read: ${text}`
        : `The kernel could not answer (${code}): ${text}`;
  }
}

function bytesOf(item: Item): number {
  if ("codes" in item) return item.codes.byteLength;
  return "received" in item ? item.received.byteLength + item.entropy.byteLength : item.byteLength;
}
