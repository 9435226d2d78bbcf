/** The anywidget entry: state in the closure of the factory, one `initialize`, any number of `render`s. */

import { connect, type Model, readTraits, whenHandled } from "./bridge";
import { asBytes } from "./bytes";
import { takeKit } from "./kit";
import { mount } from "./mount";
import { type Meta, metaProblem } from "./protocol";
import { Rpc } from "./rpc";
import { batch } from "./signals";
import { TileSource } from "./source";
import { createStore, type Store } from "./state";
import { countTokens } from "./tokens";

interface Context {
  model: Model;
  /** Hosts older than anywidget 0.11 give none and call the function we return instead. */
  signal?: AbortSignal;
}

interface Render extends Context {
  el: HTMLElement;
}

interface Widget {
  store: Store;
  source: TileSource;
}

const DISCONNECTED = ".jupyter-widgets-disconnected";

export default () => {
  const views = new Set<HTMLElement>();
  let widget: Widget | null = null;

  const start = (model: Model): { widget: Widget; stop: () => void } => {
    const store = createStore(readTraits(model));
    const rpc = new Rpc({
      send: (message, handled) =>
        model.send({ ...message, capture: store.meta.peek().capture }, whenHandled(handled)),
      detached: () => [...views].some((el) => el.closest(DISCONNECTED) !== null),
    });
    const source = new TileSource(rpc, {
      shape: ({ stack, batch }) => {
        const example = store.meta.peek().stacks.find((s) => s.name === stack)?.examples[batch];
        const queries = example ? countTokens(example.queries) : 0;
        return { queries, keys: example?.keys ? countTokens(example.keys) : queries };
      },
      schedule: (run) => requestAnimationFrame(run),
    });
    const receive = (content: unknown, buffers: readonly unknown[]) => rpc.receive(content, buffers ?? []);
    /**
     * What a question tells that is asked a little later. Another capture takes a while to make: that the kernel is busy.
     * The kernel was restarted or has come back, says Jupyter, before it has let go of the old connection: which it is.
     */
    const ask = () => setTimeout(() => rpc.probe());
    model.on("change:words", ask);
    model.on("change:hidden_keys", ask);
    model.on("msg:custom", receive);
    model.on("comm_live_update", ask);
    const unpack = () => {
      const embedded = model.get("embed");
      if (embedded && metaProblem(store.meta.peek()) === null) void source.embed(asBytes(embedded));
    };
    /** Another capture: before anything is drawn or asked for, what is here of the one before is forgotten. */
    const swap = () => {
      const meta = model.get("meta") as Meta;
      if (meta?.capture === store.meta.peek()?.capture) return;
      batch(() => {
        source.reset();
        store.hoverPair.value = store.hoverHead.value = store.draftWindow.value = null;
        store.meta.value = meta;
      });
      // Hosts set one trait after the other.
      queueMicrotask(unpack);
    };
    model.on("change:meta", swap);
    unpack();
    // Pages made to be passed on hold what else a kernel would send.
    const stored = model.get("module");
    if (stored) void takeKit(stored as string);
    const disconnect = connect(model, store);
    return {
      widget: { store, source },
      stop() {
        model.off("change:words", ask);
        model.off("change:hidden_keys", ask);
        model.off("msg:custom", receive);
        model.off("comm_live_update", ask);
        model.off("change:meta", swap);
        disconnect();
        rpc.dispose();
      },
    };
  };

  return {
    initialize({ model, signal }: Context) {
      const started = start(model);
      widget = started.widget;
      if (!signal) return started.stop;
      signal.addEventListener("abort", started.stop, { once: true });
      return undefined;
    },
    render({ model, el, signal }: Render) {
      widget ??= start(model).widget;
      views.add(el);
      const unmount = mount(el, widget.store, widget.source);
      const end = () => {
        views.delete(el);
        unmount();
      };
      if (!signal) return end;
      signal.addEventListener("abort", end, { once: true });
      return undefined;
    },
  };
};
