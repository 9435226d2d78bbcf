/**
 * One output: a widget manager that knows no other output, on Jupyter's own classes. The model of a widget is made anew in
 * each frame, from the state that the page holds; the code of a widget comes as an AMD module, as from a CDN.
 */
import * as base from "@jupyter-widgets/base";
import { ManagerBase } from "@jupyter-widgets/base-manager";
import type { FromFrame, FromPage, Hands, Known } from "./wire";

type Loaded = typeof base.WidgetModel | typeof base.WidgetView;
type Message = { content: { comm_id: string; data: unknown }; buffers: unknown[] };

const copied = (buffers: readonly (ArrayBuffer | ArrayBufferView)[] = []) =>
  buffers.map((buffer) =>
    buffer instanceof ArrayBuffer
      ? buffer
      : (new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).slice().buffer as ArrayBuffer),
  );

/** The comm of a widget, through the page. Messages that come before somebody listens wait. */
class PageComm implements base.IClassicComm {
  readonly target_name = "";
  #listener: ((message: Message) => void) | null = null;
  readonly #early: Message[] = [];

  constructor(
    readonly comm_id: string,
    readonly post: (message: FromFrame) => void,
    readonly hands: Hands,
  ) {}

  receive(data: unknown, buffers: ArrayBuffer[]): void {
    const handed = this.hands === "Uint8Array" ? buffers.map((buffer) => new Uint8Array(buffer)) : buffers;
    // No header and no metadata: less than Jupyter gives.
    const message = { content: { comm_id: this.comm_id, data }, buffers: handed };
    if (this.#listener) this.#listener(message);
    else this.#early.push(message);
  }

  on_msg(callback: (message: Message) => void): void {
    this.#listener = callback;
    for (const message of this.#early.splice(0)) callback(message);
  }

  send(
    data: unknown,
    callbacks?: base.ICallbacks,
    _metadata?: unknown,
    buffers?: ArrayBuffer[] | ArrayBufferView[],
  ): string {
    this.post({
      kind: "send",
      id: this.comm_id,
      data: JSON.parse(JSON.stringify(data)),
      buffers: copied(buffers),
    });
    // Sent is as good as done: nobody waits for the kernel to be idle.
    const idle = { content: { execution_state: "idle" } } as Parameters<
      NonNullable<NonNullable<base.ICallbacks["iopub"]>["status"]>
    >[0];
    queueMicrotask(() => callbacks?.iopub?.status?.(idle));
    return "";
  }

  open(): string {
    throw new Error("a frame opens no comm");
  }

  close(): string {
    return "";
  }

  on_close(): void {}
}

class FrameManager extends ManagerBase {
  readonly #made = new Map<string, Promise<base.WidgetModel>>();
  readonly #asked = new Map<string, (known: Known | null) => void>();
  readonly #comms = new Map<string, PageComm>();
  readonly #modules = new Map<string, Promise<Record<string, Loaded>>>();

  constructor(
    readonly post: (message: FromFrame) => void,
    readonly hands: Hands,
  ) {
    super();
  }

  heard(message: FromPage): void {
    if (message.kind === "model") {
      if (message.known?.live) this.#comms.set(message.id, new PageComm(message.id, this.post, this.hands));
      this.#asked.get(message.id)?.(message.known);
    } else if (message.kind === "message")
      this.#comms.get(message.id)?.receive(message.data, message.buffers);
  }

  override get_model(id: string): Promise<base.WidgetModel> {
    let model = this.#made.get(id);
    if (!model) {
      model = this.#make(id);
      this.#made.set(id, model);
    }
    return model;
  }

  async #make(id: string): Promise<base.WidgetModel> {
    const known = await new Promise<Known | null>((resolve) => {
      this.#asked.set(id, resolve);
      this.post({ kind: "ask", id });
    });
    if (!known) throw new Error(`no widget ${id} is known`);
    const state = known.state as base.Dict<base.BufferJSON>;
    if (this.hands === "Uint8Array") {
      // Views, as Jupyter has them.
      const { state: plain, buffer_paths, buffers } = base.remove_buffers(state);
      base.put_buffers(plain as base.Dict<base.BufferJSON>, buffer_paths, buffers);
      Object.assign(state, plain);
    }
    const comm = this.#comms.get(id);
    return this.new_model(
      {
        model_name: known.modelName,
        model_module: known.modelModule,
        model_module_version: known.modelModuleVersion,
        model_id: id,
        ...(comm && { comm }),
      },
      state as Parameters<ManagerBase["new_model"]>[1],
    );
  }

  protected override async loadClass(name: string, module: string, version: string): Promise<Loaded> {
    if (module === "@jupyter-widgets/base") return Reflect.get(base, name) as Loaded;
    let loaded = this.#modules.get(module);
    if (!loaded) {
      loaded = load(`https://cdn.127.0.0.1.test/npm/${module}@${version.replace(/^\^/, "")}/dist/index.js`);
      this.#modules.set(module, loaded);
    }
    return (await loaded)[name]!;
  }

  protected override async _create_comm(): Promise<base.IClassicComm> {
    throw new Error("a frame opens no comm");
  }

  protected override async _get_comm_info(): Promise<Record<string, never>> {
    throw new Error("a frame knows no other widgets");
  }
}

/** Evaluates an AMD module that needs nothing but Jupyter's base classes. */
async function load(url: string): Promise<Record<string, Loaded>> {
  const script = await (await fetch(url)).text();
  let made: Record<string, Loaded> = {};
  const define = (needs: string[], factory: (...found: unknown[]) => Record<string, Loaded>) => {
    made = factory(
      ...needs.map((need) => {
        if (need !== "@jupyter-widgets/base") throw new Error(`${url} needs ${need}, which is not here`);
        return base;
      }),
    );
  };
  new Function("define", script)(define);
  return made;
}

async function render(manager: FrameManager, id: string): Promise<void> {
  const view = await manager.create_view(await manager.get_model(id));
  const tell = (type: string) =>
    view.luminoWidget.processMessage({ type, isConflatable: false, conflate: () => false });
  tell("before-attach");
  document.body.append(view.el);
  tell("after-attach");
}

addEventListener(
  "message",
  ({ ports: [port] }) => {
    if (!port) return;
    const post = (message: FromFrame) => port.postMessage(message);
    let manager: FrameManager | null = null;
    port.onmessage = ({ data }: MessageEvent<FromPage>) => {
      if (data.kind === "render") {
        manager = new FrameManager(post, data.hands);
        void render(manager, data.id);
      } else manager?.heard(data);
    };
    new ResizeObserver(() => post({ kind: "height", height: document.documentElement.offsetHeight })).observe(
      document.documentElement,
    );
  },
  { once: true },
);
