/** Questions to the kernel over custom messages: numbered, few at a time, patient. */

import { MAX_IN_FLIGHT } from "./protocol";
import { type ReadonlySignal, signal } from "./signals";

/** live: answers come; busy: they take long; static: there is no kernel behind this page; gone: it died. */
export type Link = "live" | "busy" | "static" | "gone";

/** Whether a kernel answers, now or later. Reads the link. */
export const answers = ({ link }: { link: ReadonlySignal<Link> }) =>
  link.value === "live" || link.value === "busy";

export interface Answer {
  ok: Record<string, unknown>;
  buffers: readonly unknown[];
}

export class RpcError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: RpcError): void;
  /** How many messages sent later have been answered, and as how many the answer of this one counts. */
  overtaken: number;
  weight: number;
}

export interface RpcOptions {
  /**
   * Throws where nobody can hear it; the promise that some hosts give instead fails there. `handled` is called, where
   * the host can tell, once the kernel is done with the message.
   */
  send(message: { id: number; method: string; params: unknown }, handled: () => void): unknown;
  /** Whether the host says that no kernel is behind this page. */
  detached(): boolean;
}

const BUSY_AFTER = 400;
const RECHECK = 1500;
/** However long a cell runs, this many milliseconds after one look at how things are follows the next. */
const PATIENCE = 60_000;
/** An answer is on its way before the kernel is done with the question; hosts may hand it on a little later. */
const GRACE = 1000;
/** Kernels answer in order, or nearly: what so many later messages have overtaken is lost. */
const OVERTAKEN = 16;

export class Rpc {
  readonly #link = signal<Link>("live");
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the kernel was found to be gone. */
  #lost = 0;

  constructor(readonly options: RpcOptions) {}

  get link(): ReadonlySignal<Link> {
    return this.#link;
  }

  /** How many more messages may go out now; where the kernel is gone, one now and then, in case it has come back. */
  get free(): number {
    const link = this.#link.peek();
    if (link === "live" || link === "busy") return MAX_IN_FLIGHT - this.#waiting.size;
    return performance.now() - this.#lost > RECHECK ? 1 - this.#waiting.size : 0;
  }

  /** Asks for nothing: any answer, or a host that throws, tells how things are. What went before is not waited for. */
  probe(weight = OVERTAKEN): void {
    void this.request("tiles", { tiles: [] }, weight).catch(() => {});
  }

  /** `weight`: as how many answers its answer counts for those that wait longer. */
  request(method: string, params: unknown, weight = 1): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.options.detached()) {
        this.#lose("static");
        reject(new RpcError("static", "there is no kernel behind this page"));
        return;
      }
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject, overtaken: 0, weight });
      try {
        const sent = this.options.send({ id, method, params }, () => this.#handled(id));
        // In marimo: its server refuses messages to a kernel that has died.
        if (sent instanceof Promise) sent.catch(() => this.#lose("gone"));
      } catch {
        // The host's model throws once its comm is closed: the kernel was restarted or has died.
        this.#lose("gone");
        return;
      }
      this.#watch(BUSY_AFTER);
    });
  }

  /** An answer from the kernel. Unknown ids are answers to a page that is no more: dropped. */
  receive(content: unknown, buffers: readonly unknown[]): void {
    const message = content as {
      id?: unknown;
      ok?: unknown;
      error?: { code?: unknown; message?: unknown };
    } | null;
    const id = message && typeof message === "object" ? message.id : undefined;
    const waiting = typeof id === "number" ? this.#waiting.get(id) : undefined;
    if (typeof id !== "number" || !waiting) return;
    this.#waiting.delete(id);
    for (const [older, other] of this.#waiting) {
      if (older > id) continue;
      other.overtaken += waiting.weight;
      if (other.overtaken < OVERTAKEN) continue;
      this.#waiting.delete(older);
      other.reject(new RpcError("lost", `message ${older} was never answered`));
    }
    this.#link.value = "live";
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.size) this.#watch(BUSY_AFTER);
    if (message?.ok && typeof message.ok === "object")
      waiting.resolve({ ok: message.ok as Record<string, unknown>, buffers });
    else if (message?.error && typeof message.error === "object")
      waiting.reject(new RpcError(String(message.error.code), String(message.error.message)));
    else waiting.reject(new RpcError("malformed", `answer ${id} has neither "ok" nor "error"`));
  }

  dispose(): void {
    this.#lose("static");
    this.#lost = Number.POSITIVE_INFINITY;
  }

  /** A kernel that was restarted takes messages for widgets it does not know, and says nothing. */
  #handled(id: number): void {
    setTimeout(() => {
      if (this.#waiting.has(id)) this.#lose("gone");
    }, GRACE);
  }

  /**
   * Silence is not an error: a cell may run for an hour. Only the host can say that nobody will answer, and some say it
   * to who asks: what a kernel was sent as it died is lost without a word. So it is asked again, ever less often.
   */
  #watch(delay: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.options.detached()) this.#lose("static");
      else {
        const known = this.#link.peek() === "busy";
        this.#link.value = "busy";
        this.#watch(Math.min(PATIENCE, Math.max(RECHECK, 2 * delay)));
        if (known) this.probe(1);
      }
    }, delay);
  }

  #lose(link: "static" | "gone"): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#link.value = link;
    this.#lost = performance.now();
    const lost = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of lost) reject(new RpcError(link, "the kernel is gone"));
  }
}
