/** Where weights come from: a cache in front of what travelled with the widget and of the kernel. */

import type { Asking } from "./asking";
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
import { kit, takeKit } from "./kit";
import { Layers } from "./layers";
import { THUMBNAIL } from "./protocol";
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

/** What was asked for may come yet, or is of no use any more. */
const PASSING = ["static", "gone", "lost", "superseded"];

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
  readonly #cache = new Cache<Item>(BUDGET, (key) => this.#asking?.wanted(key) ?? false);
  /** What travelled with the widget costs no message and is never dropped. */
  readonly #embedded = new Map<string, Tile>();
  readonly #layers: Layers;
  #strips = new Strips(this.#cache);
  #reading = 0;
  /** Goes up with each other capture: what was asked for about the ones before is not taken any more. */
  age = 0;
  #scheduled = false;
  #asks: Asking | null = null;
  /** Whether the kernel was asked for the kit, or refused it. */
  #fetched = false;

  constructor(
    readonly rpc: Rpc | null,
    readonly options: SourceOptions,
  ) {
    this.link = rpc ? computed(() => rpc.link.value) : signal<Link>("static");
    this.#layers = new Layers(options.shape, (want) => this.here(want));
    // A kernel that answers again is asked for what is still missing.
    effect(() => {
      void this.link.value;
      void kit.value;
      this.#asking?.measure();
      this.schedule();
    });
  }

  /** Takes in the `embed` trait. Nothing is asked for until it has been read. */
  async embed(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#reading++;
    const age = this.age;
    try {
      for (const [t, tile] of await readEmbed(bytes)) {
        if (age !== this.age) break;
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
    this.schedule();
  }

  /** Forgets everything: it was about another capture. */
  reset(): void {
    this.age++;
    this.#cache.clear();
    this.#embedded.clear();
    this.#strips = new Strips(this.#cache);
    this.#asking?.reset();
    this.retry();
    this.version.value++;
  }

  thumbnail(ref: HeadRef): Tile | null {
    void this.version.value;
    const { queries, keys } = this.options.shape(ref);
    const small = Math.max(queries, keys) <= THUMBNAIL;
    return this.here({ kind: "thumbnail", ref }) ?? (small ? this.here({ kind: "detail", ref }) : null);
  }

  detail(ref: HeadRef): Tile | null {
    void this.version.value;
    return this.here({ kind: "detail", ref });
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
    this.#asking?.want(owner, phases);
    this.#asking?.measure();
    this.schedule();
  }

  has(want: Want): boolean {
    if (want.kind === "refine") return !this.here(want.of)?.rows;
    if (want.kind === "thumbnail" && this.thumbnail(want.ref)) return true;
    const key = wantKey(want);
    return this.#embedded.has(key) || this.#cache.has(key);
  }

  ask(method: string, params: unknown): Promise<Answer> {
    if (!this.rpc) return Promise.reject(new RpcError("static", "there is no kernel"));
    // What had to wait for the answer, since no more may be under way at once, is asked for now.
    return this.rpc.request(method, params).finally(() => this.schedule());
  }

  retry(): void {
    this.#asking?.retry();
    this.#fetched = false;
    this.problem.value = null;
    this.schedule();
  }

  here(want: TileWant): Tile | null {
    const key = wantKey(want);
    return this.#embedded.get(key) ?? (this.#cache.get(key) as Tile | undefined) ?? null;
  }

  #floats(want: Want): Float32Array | undefined {
    void this.version.value;
    return this.#cache.get(wantKey(want)) as Float32Array | undefined;
  }

  schedule(): void {
    if (this.#scheduled || !this.rpc) return;
    this.#scheduled = true;
    this.options.schedule(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  /** What asks the kernel, once that is here. */
  get #asking(): Asking | null {
    const made = kit.peek()?.Asking;
    if (made) this.#asks ??= new made(this);
    return this.#asks;
  }

  #pump(): void {
    const rpc = this.rpc;
    if (!rpc || this.#reading) return;
    if (this.#asking) this.#asking.pump(rpc);
    else if (rpc.free > 0 && !this.#fetched) this.#fetch(rpc);
  }

  #fetch(rpc: Rpc): void {
    this.#fetched = true;
    rpc
      .request("module", {})
      .then(({ ok }) => takeKit(ok.code as string))
      .catch((error: unknown) => {
        this.#fetched = this.complain(error) !== "";
        if (!this.#fetched) this.schedule();
      });
  }

  /** Takes in what has come. */
  store(items: readonly (readonly [Want, Item])[]): void {
    for (const [want, item] of items) {
      this.#keep(want, item);
      if (want.kind === "marginals") this.#strips.add(want);
      // The small picture of a head is in its large one.
      if (want.kind === "detail" && this.thumbnail(want.ref)?.rows !== null) {
        const tile = item as Tile;
        if (!tile.rows) this.#keep({ kind: "thumbnail", ref: want.ref }, shrunk(tile, THUMBNAIL));
      }
    }
    if (items.length) this.version.value++;
  }

  #keep(want: Want, item: Item): void {
    const key = wantKey(want);
    if (this.#embedded.has(key)) this.#embedded.set(key, item as Tile);
    else this.#cache.set(key, item, bytesOf(item));
  }

  /** Says what went wrong, and returns its kind; "" where what was asked for may come yet, or is of no use any more. */
  complain(error: unknown): string {
    const code = error instanceof RpcError ? error.code : "malformed";
    if (PASSING.includes(code)) return "";
    const text = error instanceof Error ? error.message : String(error);
    if (code !== "unavailable")
      this.problem.value =
        code === "malformed"
          ? `The kernel's answer cannot be read: ${text}`
          : `The kernel could not answer (${code}): ${text}`;
    return code;
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
