/**
 * The page of a notebook, in Colab's manner: it holds the state of every widget and the line to the kernel, gives each output
 * a frame of another origin, and passes messages on. Frames hear what the kernel says, and nothing of each other.
 */
import { type Kernel, KernelManager, type KernelMessage, ServerConnection } from "@jupyterlab/services";
import type { FromFrame, FromPage, Hands, Known, State } from "./wire";

const VIEW = "application/vnd.jupyter.widget-view+json";
/** Where the manager of a frame comes from, as the kernel's side was told (`colabhost.py`). */
const MANAGER = "http://cdn.127.0.0.1.test/manager.js";

/** Widgets in the metadata of a notebook. */
interface Saved {
  state: Record<
    string,
    {
      model_name: string;
      model_module: string;
      model_module_version: string;
      state: State;
      buffers?: { path: string[]; encoding: "base64"; data: string }[];
    }
  >;
}

const models = new Map<string, Known>();
const frames: { port: MessagePort; ids: Set<string> }[] = [];
/** What was seen of the protocol. */
const seen = { versions: new Set<string>(), methods: new Set<string>() };
let kernel: Kernel.IKernelConnection | null = null;
let hands: Hands = "Uint8Array";

const plain = (buffer: ArrayBuffer | ArrayBufferView): ArrayBuffer =>
  buffer instanceof ArrayBuffer
    ? buffer.slice(0)
    : (new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).slice().buffer as ArrayBuffer);

/** Traits of which some are binary; ours are so at the top only. */
function whole(state: State, paths: (string | number)[][] = [], buffers: ArrayBuffer[] = []): State {
  const put = paths.map((path, i) => {
    if (path.length !== 1) throw new Error(`binary data inside of a trait: ${path.join(".")}`);
    return [path[0], buffers[i]];
  });
  return { ...state, ...Object.fromEntries(put) };
}

function hear({ header, content, metadata, buffers = [] }: KernelMessage.IIOPubMessage): void {
  const { comm_id: id, data } = content as {
    comm_id: string;
    data: { method?: string; state?: State; buffer_paths?: (string | number)[][] };
  };
  const copies = (buffers as (ArrayBuffer | ArrayBufferView)[]).map(plain);
  if (header.msg_type === "comm_open") {
    seen.versions.add(String(metadata.version));
    const state = whole(data.state ?? {}, data.buffer_paths, copies);
    models.set(id, {
      modelName: String(state._model_name),
      modelModule: String(state._model_module),
      modelModuleVersion: String(state._model_module_version),
      state,
      live: true,
    });
  } else if (header.msg_type === "comm_close") models.delete(id);
  else if (header.msg_type === "comm_msg") {
    seen.methods.add(String(data.method));
    const known = models.get(id);
    if (known && data.method === "update")
      Object.assign(known.state, whole(data.state ?? {}, data.buffer_paths, copies));
    for (const { port, ids } of frames)
      if (ids.has(id)) port.postMessage({ kind: "message", id, data, buffers: copies } satisfies FromPage);
  }
}

function show(id: string): void {
  const element = document.createElement("iframe");
  element.src = `http://output-${frames.length}.127.0.0.1.test/frame.html`;
  const { port1: port, port2 } = new MessageChannel();
  const frame = { port, ids: new Set<string>() };
  frames.push(frame);
  port.onmessage = ({ data }: MessageEvent<FromFrame>) => {
    if (data.kind === "height") element.style.height = `${data.height}px`;
    else if (data.kind === "ask") {
      frame.ids.add(data.id);
      port.postMessage({ kind: "model", id: data.id, known: models.get(data.id) ?? null } satisfies FromPage);
    } else {
      const known = models.get(data.id);
      const { method, state } = data.data as { method: string; state?: State };
      if (known && method === "update") Object.assign(known.state, state);
      kernel?.sendShellMessage({
        ...commMessage(data.id, data.data),
        buffers: data.buffers,
      } as KernelMessage.IShellMessage);
    }
  };
  element.addEventListener("load", () => {
    element.contentWindow?.postMessage(null, "*", [port2]);
    port.postMessage({ kind: "render", id, hands } satisfies FromPage);
  });
  document.body.append(element);
}

function commMessage(id: string, data: unknown) {
  if (!kernel) throw new Error("there is no kernel");
  return {
    header: {
      msg_id: crypto.randomUUID(),
      msg_type: "comm_msg",
      session: kernel.clientId,
      username: "",
      date: new Date().toISOString(),
      version: "5.3",
    },
    parent_header: {},
    metadata: {},
    channel: "shell",
    content: { comm_id: id, data },
  };
}

/** The widget of an output. Widgets of third parties are shown only by the manager that their output names. */
function widgetOf(message: KernelMessage.IIOPubMessage): string | null {
  const { data, metadata } = message.content as {
    data?: Record<string, unknown>;
    metadata?: Record<string, { colab?: { custom_widget_manager?: { url?: string } } }>;
  };
  const shown = data?.[VIEW] as { model_id: string } | undefined;
  if (!shown) return null;
  if (metadata?.[VIEW]?.colab?.custom_widget_manager?.url !== MANAGER)
    throw new Error(`an output shows a widget and does not name its manager: ${JSON.stringify(metadata)}`);
  return shown.model_id;
}

const page = {
  async connect(token: string, given: Hands): Promise<void> {
    hands = given;
    const serverSettings = ServerConnection.makeSettings({
      baseUrl: location.origin,
      token,
      appendToken: true,
    });
    const manager = new KernelManager({ serverSettings });
    kernel = await manager.startNew({ name: "python3" }, { handleComms: false });
    kernel.iopubMessage.connect((_, message) => {
      if (message.header.msg_type.startsWith("comm_")) hear(message);
    });
    await kernel.info;
  },

  /** Runs code; what it prints, and the ids of the widgets that it shows. */
  async run(code: string): Promise<{ text: string; error: string | null; shown: string[] }> {
    if (!kernel) throw new Error("there is no kernel");
    const future = kernel.requestExecute({ code });
    const result = { text: "", error: null as string | null, shown: [] as string[] };
    future.onIOPub = (message) => {
      const { msg_type } = message.header;
      if (msg_type === "stream") result.text += (message.content as { text: string }).text;
      if (msg_type === "error")
        result.error = (message.content as { traceback: string[] }).traceback.join("\n");
      try {
        const id = widgetOf(message);
        if (id) result.shown.push(id);
      } catch (error) {
        result.error = String(error);
      }
    };
    await future.done;
    for (const id of result.shown) show(id);
    return result;
  },

  seen: () => ({ versions: [...seen.versions], methods: [...seen.methods].sort() }),

  /** The state of all widgets, as a notebook keeps it. */
  save(): Saved & { version_major: number; version_minor: number } {
    const state: Saved["state"] = {};
    for (const [id, known] of models) {
      const binary = Object.entries(known.state).filter(([, value]) => value instanceof ArrayBuffer);
      state[id] = {
        model_name: known.modelName,
        model_module: known.modelModule,
        model_module_version: known.modelModuleVersion,
        state: Object.fromEntries(
          Object.entries(known.state).filter(([, value]) => !(value instanceof ArrayBuffer)),
        ),
        buffers: binary.map(([name, value]) => ({
          path: [name],
          encoding: "base64",
          data: btoa(
            Array.from(new Uint8Array(value as ArrayBuffer), (byte) => String.fromCharCode(byte)).join(""),
          ),
        })),
      };
    }
    return { version_major: 2, version_minor: 0, state };
  },

  /** Shows widgets of a saved notebook: there is no kernel. */
  open({ state }: Saved, shown: string[], given: Hands): void {
    hands = given;
    for (const [id, saved] of Object.entries(state)) {
      const buffers = (saved.buffers ?? []).map(
        ({ data }) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer as ArrayBuffer,
      );
      models.set(id, {
        modelName: saved.model_name,
        modelModule: saved.model_module,
        modelModuleVersion: saved.model_module_version,
        state: whole(
          saved.state,
          (saved.buffers ?? []).map(({ path }) => path),
          buffers,
        ),
        live: false,
      });
    }
    for (const id of shown) show(id);
  },

  async close(): Promise<void> {
    await kernel?.shutdown();
  },
};

Object.assign(window, { colab: page });
