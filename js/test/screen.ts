/** A screen for tests: elements have a size, canvases record what is drawn, and weights come from a function. */
import { vi } from "vitest";
import type { DataSource, HeadRef, Line, Placed } from "../src/datasource";
import { mount } from "../src/mount";
import type { Tokens } from "../src/protocol";
import { RpcError } from "../src/rpc";
import { signal } from "../src/signals";
import { createStore, type Store, type Traits } from "../src/state";
import { TRAITS } from "./helpers";

export interface Drawn {
  /** Texts by the name of the canvas they stand on. */
  texts: Map<string, string[]>;
  /** Curves by canvas: where each starts and ends. */
  curves: Map<string, [number, number][]>;
  /** The same curves as they are: start, two control points, end. */
  paths: Map<string, number[][]>;
}

/** Stands in for layout and canvas, which happy-dom does not have. */
export function screen(width = 900): Drawn {
  const drawn: Drawn = { texts: new Map(), curves: new Map(), paths: new Map() };
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(width);
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(readonly seen: () => void) {}
      observe() {
        this.seen();
      }
      disconnect() {}
    },
  );
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      observe() {}
      disconnect() {}
    },
  );
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation(function (this: HTMLCanvasElement) {
    const name = this.dataset.panel ?? "";
    let from = [0, 0];
    const own: Record<string, unknown> = {
      measureText: (text: string) => ({ width: text.length * 6 }),
      clearRect: () => {
        drawn.texts.set(name, []);
        drawn.curves.set(name, []);
        drawn.paths.set(name, []);
      },
      fillText: (text: string) => drawn.texts.get(name)?.push(text),
      moveTo: (...to: [number, number]) => {
        from = to;
      },
      bezierCurveTo: (...at: number[]) => {
        drawn.curves.get(name)?.push([from[1]!, at[5]!]);
        drawn.paths.get(name)?.push([...from, ...at]);
      },
      createPattern: () => ({ setTransform() {} }),
      createImageData: (w: number, h: number) => ({
        data: new Uint8ClampedArray(w * h * 4),
        width: w,
        height: h,
      }),
    };
    return new Proxy(own, {
      get: (target, key: string) => target[key] ?? (() => ({ addColorStop() {} })),
      set: (target, key: string, value) => {
        target[key] = value;
        return true;
      },
    }) as unknown as CanvasRenderingContext2D;
  } as never);
  return drawn;
}

export interface MadeUp {
  /** Rows and columns are exact, read from the colours, or not here. */
  exact?: boolean | null;
  placed?: readonly Placed[];
  /** Answers what is asked beside tiles and weights; without it there is no kernel. */
  ask?: DataSource["ask"];
  heads?: DataSource["heads"];
}

/** A source that makes its weights up; what it was asked for is counted. */
export function madeUp(
  shape: { queries: number; keys: number },
  weight: (query: number, key: number) => number,
  options: MadeUp = {},
): DataSource & { version: ReturnType<typeof signal<number>>; options: MadeUp } {
  const line = (n: number, at: (i: number) => number): Line | null =>
    options.exact === null
      ? null
      : { values: Float32Array.from({ length: n }, (_, i) => at(i)), exact: options.exact ?? true };
  const version = signal(0);
  return {
    version,
    options,
    link: signal("live" as const),
    problem: signal<string | null>(null),
    progress: signal<number | null>(null),
    thumbnail: () => null,
    detail: () => null,
    placed: () => options.placed ?? [],
    marginals: () => null,
    row: (_: HeadRef, query: number) => {
      void version.value;
      return line(shape.keys, (k) => weight(query, k));
    },
    column: (_: HeadRef, key: number) => {
      void version.value;
      return line(shape.queries, (q) => weight(q, key));
    },
    cell: (_: HeadRef, query: number, key: number) => ({ value: weight(query, key), exact: true, cells: 1 }),
    pair: () => null,
    heads: (want) => options.heads?.(want) ?? null,
    finding: signal(0),
    want() {},
    has: () => true,
    retry() {},
    ask: (...asked) =>
      options.ask?.(...asked) ?? Promise.reject(new RpcError("static", "there is no kernel")),
  };
}

export interface Shown {
  store: Store;
  root: HTMLElement;
  unmount: () => void;
  all(selector: string): HTMLElement[];
  one(selector: string): HTMLElement;
}

/** A mounted view of one stack, after its first frame. */
export async function view(
  tokens: { queries: Tokens; keys?: Tokens },
  source: DataSource,
  traits: Partial<{ [K in keyof Traits]: Traits[K]["value"] }> = {},
): Promise<Shown> {
  const base = TRAITS();
  base.meta.stacks = [
    {
      name: "self",
      layers: 2,
      heads: 2,
      examples: [{ queries: tokens.queries, keys: (tokens.keys ?? null) as never }],
    },
  ];
  const store = createStore({ ...base, ...traits } as never);
  const el = document.createElement("div");
  document.body.append(el);
  const unmount = mount(el, store, source);
  const root = el.firstElementChild!.shadowRoot!.querySelector<HTMLElement>(".root")!;
  await frame();
  const all = (selector: string) => [...root.querySelectorAll<HTMLElement>(selector)];
  return { store, root, unmount, all, one: (selector) => all(selector)[0]! };
}

/** Two frames: what is patient waits for a second one. */
export async function frame(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
}

export function text(n: number, words = ["the", "old", "New", "York", "bus", "rain"]): Tokens {
  return {
    piece: words,
    text: words,
    gap: words.map(() => " "),
    special: words.map(() => 0),
    segment: words.map(() => 0),
    index: Array.from({ length: n }, (_, i) => i % words.length),
  };
}
