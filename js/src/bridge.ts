/** Between the store and the traits of the Jupyter model. */
import { effect } from "./signals";
import type { Store, Traits } from "./state";

/** What Jupyter's hosts call as the kernel works on a message, by the kind of what it says. */
export interface Callbacks {
  iopub: { status(message: { content: { execution_state: string } }): void };
}

/** What we use of anywidget's model. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  /** marimo answers with a promise. */
  send(content: unknown, callbacks?: Callbacks): unknown;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

export const TRAITS = [
  "meta",
  "stack",
  "batch",
  "layer",
  "head",
  "query",
  "key",
  "window",
  "direction",
  "panels",
  "threshold",
  "scale",
  "domain",
  "colormap",
  "theme",
  "components",
  "threshold_kind",
  "text",
  "run",
  "maps",
  "sort",
  "ascending",
  "like",
  "filter",
  "colour_by",
  "measure",
  "diverging",
  "words",
  "hidden_keys",
  "heads",
  "aggregate",
  "over",
] as const satisfies readonly (keyof Traits)[];

type Initial = { [K in keyof Traits]: Traits[K]["value"] };

export function readTraits(model: Model): Initial {
  return Object.fromEntries(TRAITS.map((name) => [name, model.get(name)])) as unknown as Initial;
}

/** Calls back once the kernel is done with a message. A function as well: that is what marimo takes in this place. */
export const whenHandled = (handled: () => void): Callbacks =>
  Object.assign(() => {}, {
    iopub: {
      status: ({ content }: { content: { execution_state: string } }) => {
        if (content.execution_state === "idle") handled();
      },
    },
  });

/** Whether two values are the same as JSON. */
export const alike = (a: unknown, b: unknown) => a === b || JSON.stringify(a) === JSON.stringify(b);

/** Keeps both sides equal. A value that came from one side is never sent back to it. */
export function connect(model: Model, store: Store): () => void {
  const stops: (() => void)[] = [];
  let due = false;
  const save = () => {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      try {
        model.save_changes();
      } catch {
        // No kernel any more: the page keeps its own state, and the status line says so.
      }
    });
  };
  for (const name of TRAITS) {
    const own = store[name] as { value: unknown; peek(): unknown };
    const listen = () => {
      const value = model.get(name);
      if (!alike(value, own.peek())) own.value = value;
    };
    model.on(`change:${name}`, listen);
    stops.push(() => model.off(`change:${name}`, listen));
    stops.push(
      effect(() => {
        const value = own.value;
        if (alike(value, model.get(name))) return;
        model.set(name, value);
        save();
      }),
    );
  }
  return () => {
    for (const stop of stops) stop();
  };
}
