/**
 * Values that know who reads them: `signal`, `computed`, `effect`, `batch`, as in @preact/signals-core, which the tests
 * compare this with. Written again because the bundle is stored in every saved notebook, and this is a quarter the size.
 *
 * A change marks everything downstream as stale, which costs nothing else; then each effect asks its sources, upstream
 * first, whether a version really moved, and runs only then. So no effect sees half of a change, and none runs in vain.
 */
export interface ReadonlySignal<T> {
  readonly value: T;
  /** The value, without becoming a reader of it. */
  peek(): T;
}

export interface Signal<T> extends ReadonlySignal<T> {
  value: T;
}

interface Source {
  version: number;
  readers: Set<Reader>;
  /** Brings the version up to date. */
  refresh(): void;
  /** The last reader has gone. */
  idle(): void;
}

interface Reader {
  sources: Map<Source, number>;
  stale(): void;
}

let reader: Reader | null = null;
let depth = 0;
const due = new Set<Effect>();

function track(source: Source): void {
  if (!reader) return;
  reader.sources.set(source, source.version);
  source.readers.add(reader);
}

function release(source: Source, from: Reader): void {
  source.readers.delete(from);
  if (source.readers.size === 0) source.idle();
}

/** Runs `run` as `self`, which afterwards reads what it read now and nothing else. */
function reading<T>(self: Reader, run: () => T): T {
  const before = self.sources;
  const outer = reader;
  self.sources = new Map();
  reader = self;
  try {
    return run();
  } finally {
    reader = outer;
    for (const source of before.keys()) if (!self.sources.has(source)) release(source, self);
  }
}

function moved({ sources }: Reader): boolean {
  for (const [source, version] of sources) {
    source.refresh();
    if (source.version !== version) return true;
  }
  return false;
}

class Cell<T> implements Signal<T>, Source {
  version = 0;
  readers = new Set<Reader>();
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    track(this);
    return this.#value;
  }

  set value(value: T) {
    if (value === this.#value) return;
    this.#value = value;
    this.version++;
    batch(() => {
      for (const each of this.readers) each.stale();
    });
  }

  peek(): T {
    return this.#value;
  }

  refresh(): void {}

  idle(): void {}
}

class Computed<T> implements ReadonlySignal<T>, Source, Reader {
  version = 0;
  readers = new Set<Reader>();
  sources = new Map<Source, number>();
  #stale = true;
  #result: { value: T } | { error: unknown } | null = null;

  constructor(readonly make: () => T) {}

  get value(): T {
    this.refresh();
    track(this);
    return this.#read();
  }

  peek(): T {
    this.refresh();
    return this.#read();
  }

  stale(): void {
    if (this.#stale) return;
    this.#stale = true;
    for (const each of this.readers) each.stale();
  }

  refresh(): void {
    if (!this.#stale) return;
    this.#stale = false;
    if (this.#result && this.sources.size && !moved(this)) return;
    const last = this.#result;
    try {
      this.#result = { value: reading(this, this.make) };
    } catch (error) {
      this.#result = { error };
    }
    const same = last && "value" in last && "value" in this.#result && last.value === this.#result.value;
    if (!same) this.version++;
  }

  /** Nobody reads it: let go of the sources, or they would keep it alive. */
  idle(): void {
    for (const source of this.sources.keys()) release(source, this);
    this.sources.clear();
    this.#stale = true;
  }

  #read(): T {
    const result = this.#result as { value: T } | { error: unknown };
    if ("error" in result) throw result.error;
    return result.value;
  }
}

class Effect implements Reader {
  sources = new Map<Source, number>();
  #on = true;

  /** `later`, if given, decides when it runs. */
  constructor(
    readonly run: () => unknown,
    readonly later?: (task: () => void) => void,
  ) {
    if (later) later(this.again);
    else this.again();
  }

  stale(): void {
    if (this.later) this.later(this.settle);
    else due.add(this);
  }

  readonly settle = (): void => {
    if (this.#on && moved(this)) this.again();
  };

  readonly again = (): void => {
    if (!this.#on) return;
    batch(() => reading(this, this.run));
    // It was disposed while it ran: what it read on the way must not hold it.
    if (!this.#on) this.dispose();
  };

  dispose(): void {
    this.#on = false;
    for (const source of this.sources.keys()) release(source, this);
    this.sources.clear();
  }
}

/** The most rounds in which effects may set what other effects read. */
const ROUNDS = 1000;

/** Effects run once, after `run`, and not in the middle of it. */
export function batch<T>(run: () => T): T {
  depth++;
  try {
    return run();
  } finally {
    try {
      if (depth === 1) settle();
    } finally {
      depth--;
    }
  }
}

function settle(): void {
  const errors: unknown[] = [];
  for (let round = 0; due.size; round++) {
    if (round > ROUNDS) {
      due.clear();
      throw new Error("effects set each other off without end");
    }
    const [next] = due;
    due.delete(next!);
    try {
      next!.settle();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length) throw errors[0];
}

export const signal = <T>(value: T): Signal<T> => new Cell(value);

export const computed = <T>(make: () => T): ReadonlySignal<T> => new Computed(make);

/** Runs now and whenever something it read has changed, until the function returned is called. */
export function effect(run: () => unknown): () => void {
  const made = new Effect(run);
  return () => made.dispose();
}

/** An effect that runs when `later` calls the task it is given: a painting in a frame. `again` asks for it anyway. */
export function painting(
  run: () => void,
  later: (task: () => void) => void,
): { again(): void; dispose(): void } {
  const made = new Effect(run, later);
  return { again: () => later(made.again), dispose: () => made.dispose() };
}
