/** Questions to the kernel over custom messages: numbered, few at a time, patient. */

import { MAX_IN_FLIGHT } from "./protocol";
import { type ReadonlySignal, signal } from "./signals";

/** live: answers come; busy: they take long; static: there is no kernel behind this page; gone: it died. */
export type Link = "live" | "busy" | "static" | "gone";

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
}

export interface RpcOptions {
  send(message: { id: number; method: string; params: unknown }): void;
  /** Whether the host says that no kernel is behind this page. */
  detached(): boolean;
}

const BUSY_AFTER = 400;
const RECHECK = 1500;

export class Rpc {
  readonly #link = signal<Link>("live");
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly options: RpcOptions) {}

  get link(): ReadonlySignal<Link> {
    return this.#link;
  }

  /** How many more messages may go out now. */
  get free(): number {
    return this.#link.value === "static" || this.#link.value === "gone"
      ? 0
      : MAX_IN_FLIGHT - this.#waiting.size;
  }

  request(method: string, params: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.options.detached()) {
        this.#lose("static");
        reject(new RpcError("static", "there is no kernel behind this page"));
        return;
      }
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      try {
        this.options.send({ id, method, params });
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
  }

  /** Silence is not an error: a cell may run for an hour. Only the host can say that nobody will answer. */
  #watch(delay: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.options.detached()) this.#lose("static");
      else {
        this.#link.value = "busy";
        this.#watch(RECHECK);
      }
    }, delay);
  }

  #lose(link: "static" | "gone"): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#link.value = link;
    const lost = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of lost) reject(new RpcError(link, "the kernel is gone"));
  }
}
