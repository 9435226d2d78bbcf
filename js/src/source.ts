/** Where weights come from: a cache in front of what travelled with the widget and of the kernel. */

import { Cache } from "./cache";
import { binOf, decodeTable, type Tile, tileColumn, tileRow } from "./codes";
import { readEmbed } from "./embed";
import { THUMBNAIL, TILE } from "./protocol";
import { type Link, type Rpc, RpcError } from "./rpc";
import { computed, type ReadonlySignal, type Signal, signal } from "./signals";
import { ask, type Item, type Want, wantKey } from "./wants";
import type { Window } from "./window";

export interface HeadRef {
  stack: string;
  batch: number;
  layer: number;
  head: number;
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
  /** What keys receive and how wide queries look, over a window; null until it has come. */
  marginals(ref: HeadRef, window: Window): Marginals | null;
  /** What is being refined and how far it is, from 0 to 1; null when nothing is. */
  readonly progress: ReadonlySignal<number | null>;
  row(ref: HeadRef, query: number): Line | null;
  column(ref: HeadRef, key: number): Line | null;
  cell(ref: HeadRef, query: number, key: number): { value: number; exact: boolean } | null;
  /** Replaces what `owner` needs, most urgent first. What was not asked for yet is forgotten. */
  want(owner: object, wants: readonly Want[]): void;
  /** Whether nothing of these is still to come. */
  has(want: Want): boolean;
  retry(): void;
}

const BUDGET = 192 * 2 ** 20;

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
  readonly link: ReadonlySignal<Link>;
  readonly #cache = new Cache<Tile | Float32Array>(BUDGET);
  /** What travelled with the widget costs no message and is never dropped. */
  readonly #embedded = new Map<string, Tile>();
  readonly #wants = new Map<object, readonly Want[]>();
  readonly #pending = new Set<string>();
  readonly #failed = new Set<string>();
  #reading = 0;
  #scheduled = false;

  constructor(
    readonly rpc: Rpc | null,
    readonly options: SourceOptions,
  ) {
    this.link = rpc ? computed(() => rpc.link.value) : signal<Link>("static");
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
    return (
      this.#tile({ kind: "thumbnail", ref }) ??
      (this.#small(ref) ? this.#tile({ kind: "detail", ref }) : null)
    );
  }

  detail(ref: HeadRef): Tile | null {
    return this.#tile({ kind: "detail", ref });
  }

  readonly progress = signal<number | null>(null);

  placed(ref: HeadRef, _window: Window, _scale: number): readonly Placed[] {
    const tile = this.#best(ref);
    const { queries, keys } = this.options.shape(ref);
    return tile ? [{ tile, queries: [0, queries], keys: [0, keys] }] : [];
  }

  marginals(_ref: HeadRef, _window: Window): Marginals | null {
    return null;
  }

  row(ref: HeadRef, query: number): Line | null {
    const { queries, keys } = this.options.shape(ref);
    const whole = this.#block({ kind: "values", ref })?.subarray(query * keys, (query + 1) * keys);
    const values = whole ?? this.#block({ kind: "row", ref, index: query });
    if (values) return { values, exact: true };
    const tile = this.#best(ref);
    return tile && { values: tileRow(tile, query, queries, keys), exact: false };
  }

  column(ref: HeadRef, key: number): Line | null {
    const { queries, keys } = this.options.shape(ref);
    const whole = this.#block({ kind: "values", ref });
    const values = whole
      ? Float32Array.from({ length: queries }, (_, q) => whole[q * keys + key]!)
      : this.#block({ kind: "column", ref, index: key });
    if (values) return { values, exact: true };
    const tile = this.#best(ref);
    return tile && { values: tileColumn(tile, key, queries, keys), exact: false };
  }

  cell(ref: HeadRef, query: number, key: number): { value: number; exact: boolean } | null {
    const { queries, keys } = this.options.shape(ref);
    const value =
      this.#block({ kind: "values", ref })?.[query * keys + key] ??
      this.#block({ kind: "row", ref, index: query })?.[key] ??
      this.#block({ kind: "column", ref, index: key })?.[query];
    if (value !== undefined) return { value, exact: true };
    const tile = this.#best(ref);
    if (!tile) return null;
    const code = tile.codes[binOf(query, queries, tile.height) * tile.width + binOf(key, keys, tile.width)]!;
    return { value: decodeTable(tile.max)[code]!, exact: false };
  }

  want(owner: object, wants: readonly Want[]): void {
    if (wants.length) this.#wants.set(owner, wants);
    else this.#wants.delete(owner);
    this.#schedule();
  }

  has(want: Want): boolean {
    const key = wantKey(want);
    if (want.kind === "thumbnail" && this.thumbnail(want.ref)) return true;
    return this.#embedded.has(key) || this.#cache.has(key);
  }

  retry(): void {
    this.#failed.clear();
    this.problem.value = null;
    this.#schedule();
  }

  #small(ref: HeadRef): boolean {
    const { queries, keys } = this.options.shape(ref);
    return Math.max(queries, keys) <= THUMBNAIL;
  }

  #block(want: Want): Float32Array | undefined {
    void this.version.value;
    return this.#cache.get(wantKey(want)) as Float32Array | undefined;
  }

  #best(ref: HeadRef): Tile | null {
    return this.detail(ref) ?? this.thumbnail(ref);
  }

  #tile(want: Want): Tile | null {
    void this.version.value;
    const key = wantKey(want);
    return this.#embedded.get(key) ?? (this.#cache.get(key) as Tile | undefined) ?? null;
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
    const open = new Map<string, Want>();
    for (const wants of this.#wants.values())
      for (const want of wants) {
        const key = wantKey(want);
        if (!this.#pending.has(key) && !this.#failed.has(key) && !this.has(want)) open.set(key, want);
      }
    while (open.size && rpc.free > 0) {
      const batch = ask([...open.values()], this.options.shape, TILE);
      for (const want of batch.wants) {
        open.delete(wantKey(want));
        this.#pending.add(wantKey(want));
      }
      rpc
        .request(batch.method, batch.params)
        .then(({ ok, buffers }) => this.#store(batch.take(ok, buffers)))
        .catch((error: unknown) => this.#fail(batch.wants, error))
        .finally(() => {
          for (const want of batch.wants) this.#pending.delete(wantKey(want));
          this.version.value++;
          this.#schedule();
        });
    }
  }

  #store(items: readonly Item[]): void {
    for (const [want, item] of items)
      this.#cache.set(wantKey(want), item, "codes" in item ? item.codes.byteLength : item.byteLength);
  }

  #fail(wants: readonly Want[], error: unknown): void {
    const code = error instanceof RpcError ? error.code : "malformed";
    if (code === "static" || code === "gone") return;
    for (const want of wants) this.#failed.add(wantKey(want));
    const text = error instanceof Error ? error.message : String(error);
    this.problem.value =
      code === "malformed"
        ? `The kernel's answer cannot be read: ${text}`
        : `The kernel could not answer (${code}): ${text}`;
  }
}
