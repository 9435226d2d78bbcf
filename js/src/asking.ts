/** Asks the kernel for what the views of a widget need, and puts what comes into their source. */
import { ask, type Batch } from "./ask";
import { MAX_IN_FLIGHT } from "./protocol";
import { Queue } from "./queue";
import { Refining } from "./refining";
import type { Rpc, RpcError } from "./rpc";
import type { TileSource } from "./source";
import { type Item, type Want, wantKey } from "./wants";

/** The phase of wants whose progress is told. */
const REFINED = 1;

export class Asking {
  #refining = new Refining();
  readonly #queue: Queue;

  constructor(readonly source: TileSource) {
    this.#queue = new Queue((want) => source.has(want));
  }

  want(owner: object, phases: readonly (readonly Want[])[]): void {
    this.#queue.put(owner, phases);
  }

  /** Whether what has this name in the cache is needed by anyone. */
  wanted(key: string): boolean {
    return this.#queue.wanted(key);
  }

  reset(): void {
    this.#refining = new Refining();
    this.#queue.pending.clear();
  }

  retry(): void {
    this.#queue.failed.clear();
  }

  measure(): void {
    const link = this.source.link.peek();
    const asks = link === "live" || link === "busy";
    this.source.progress.value = this.#refining.progress(asks ? this.#queue.phase(REFINED) : [], (want) =>
      this.source.here(want),
    );
  }

  /** One message per method and turn: first what the eye is on. Superseded wants never leave the page. */
  pump(rpc: Rpc): void {
    const { shape } = this.source.options;
    const { open, refine } = this.#queue.open();
    while (open.size && rpc.free > 0) {
      const batch = ask([...open.values()], shape);
      for (const want of batch.wants) open.delete(wantKey(want));
      this.#send(rpc, batch);
    }
    // Slices of a refinement go one at a time, and only while the kernel has nothing else to do for us.
    if (refine && !open.size && rpc.free === MAX_IN_FLIGHT) this.#send(rpc, ask([refine], shape));
  }

  #send(rpc: Rpc, batch: Batch): void {
    for (const want of batch.wants) this.#queue.pending.add(wantKey(want));
    const { age } = this.source;
    const current = () => age === this.source.age;
    rpc
      .request(batch.method, batch.params)
      .then(({ ok, buffers }) => {
        if (current()) this.#take(batch.take(ok, buffers));
      })
      .catch((error: unknown) => {
        if (current()) this.#fail(batch.wants, error);
      })
      .finally(() => {
        if (current()) for (const want of batch.wants) this.#queue.pending.delete(wantKey(want));
        this.measure();
        this.source.schedule();
      });
  }

  #take(items: readonly (readonly [Want, Item | number])[]): void {
    const came: [Want, Item][] = [];
    for (const [want, item] of items)
      if (typeof item !== "number") came.push([want, item]);
      else if (want.kind === "patterns") this.source.finding.value = item;
      else this.#refining.note(want, item);
    this.source.store(came);
  }

  #fail(wants: readonly Want[], error: unknown): void {
    const code = this.source.complain(error);
    if (code === "unavailable")
      this.source.store(wants.map((want) => [want, { why: (error as RpcError).message }]));
    else if (code) for (const want of wants) this.#queue.failed.add(wantKey(want));
  }
}
