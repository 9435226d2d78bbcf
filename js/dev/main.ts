/** The widget on a bare page, over a fake kernel; options in the address: ?tokens=13&layers=6&heads=12&drawn=1,4&aggregate=mean&theme=dark ... */

import module from "../../attnwidget/widget/static/kernel.js";
import type { Model } from "../src/bridge";
import factory from "../src/index";
import { PROTOCOL_VERSION } from "../src/protocol";
import type { Traits } from "../src/state";
import { tokens } from "./heads";
import { fakeKernel } from "./kernel";
import { MEASURES } from "./measures";

const query = new URLSearchParams(location.search);
const number = (name: string, otherwise: number) => Number(query.get(name) ?? otherwise);
const [n, layers, heads] = [number("tokens", 13), number("layers", 6), number("heads", 12)];
const keys = number("keys", n);
const kind = query.get("kind") ?? "plain";
const link = query.get("link") ?? "live";
const kernel = fakeKernel(n, keys, query.has("causal"), undefined, [layers, heads]);

const traits: Record<keyof Traits, unknown> & Record<string, unknown> = {
  meta: {
    version: number("version", PROTOCOL_VERSION),
    measures: MEASURES,
    model: query.get("model") ?? "all-MiniLM-L6-v2",
    stacks: [
      {
        name: keys === n ? "self" : "cross",
        layers,
        heads,
        ...(query.has("kv") && { key_heads: Array(layers).fill(number("kv", heads)) }),
        ...(query.has("windows") && {
          windows: Array.from({ length: layers }, (_, i) => (i % 2 ? null : number("windows", 128))),
        }),
        examples: [{ queries: tokens(n, kind), keys: keys === n ? null : tokens(keys, kind) }],
      },
    ],
  },
  embed: null,
  stack: "self",
  batch: 0,
  layer: number("layer", Math.min(3, layers - 1)),
  head: number("head", Math.min(5, heads - 1)),
  query: query.has("query") ? number("query", 0) : null,
  key: query.has("key") ? number("key", 0) : null,
  window: query.get("window")?.split(",").map(Number) ?? null,
  direction: "from",
  panels: query.get("panels")?.split(",").filter(Boolean) ?? ["grid", "heatmap", "lines", "text"],
  threshold: number("threshold", 0.05),
  scale: query.get("scale") ?? "sqrt",
  domain: query.get("domain")?.split(",").map(Number) ?? null,
  colormap: query.get("map") ?? "oslo",
  theme: query.get("theme") ?? "auto",
  components: query.get("components") ?? "size",
  threshold_kind: query.get("kept") ?? "weight",
  text: query.get("text") ?? "",
  run: {},
  maps: [],
  sort: query.get("sort"),
  ascending: query.has("ascending"),
  like: query.get("like")?.split(",").map(Number) ?? null,
  filter: query.has("filter") ? [query.get("filter"), number("low", 0)] : null,
  colour_by: query.get("colour_by"),
  measure: query.get("measure") ?? "weight",
  diverging: query.get("diverging") ?? "auto",
  words: false,
  hidden_keys: [],
  heads: query.get("drawn")?.split(",").filter(Boolean).map(Number) ?? [],
  aggregate: query.get("aggregate"),
  over: query.get("over") ?? "layer",
  ablation: query.get("ablation") ?? "zero",
  metric: query.get("metric") ?? "loss",
  token: query.has("token") ? number("token", 0) : null,
};

const listeners = new Map<string, Set<(...args: unknown[]) => void>>();
const emit = (event: string, ...args: unknown[]) => {
  for (const listener of listeners.get(event) ?? []) listener(...args);
};
const sent: unknown[] = [];
const model: Model & { sent: unknown[] } = {
  sent,
  get: (name) => traits[name],
  set: (name, value) => {
    traits[name] = value;
    emit(`change:${name}`);
  },
  save_changes: () => {},
  send: (message) => {
    sent.push(message);
    if (link === "gone") throw new Error("the comm is closed");
    if (link === "busy" || link === "static") return;
    if (link === "error") {
      const { id } = message as { id: number };
      setTimeout(
        () => emit("msg:custom", { id, error: { code: "failed", message: "CUDA out of memory" } }, []),
        20,
      );
      return;
    }
    const asked = message as Parameters<typeof kernel.answer>[0];
    const { content, buffers } =
      asked.method === "module"
        ? { content: { id: asked.id, ok: { code: module } }, buffers: [] }
        : kernel.answer(asked);
    setTimeout(() => emit("msg:custom", content, buffers), number("delay", 20));
  },
  on: (event, callback) => {
    const set = listeners.get(event) ?? new Set();
    listeners.set(event, set);
    set.add(callback as (...args: unknown[]) => void);
  },
  off: (event, callback) => {
    listeners.get(event)?.delete(callback as (...args: unknown[]) => void);
  },
};
Object.assign(window, { model });

const place = document.getElementById("place")!;
if (query.has("width")) place.style.width = `${query.get("width")}px`;
if (query.get("theme") === "dark") document.body.dataset.theme = "dark";
if (link === "static") place.className = "jupyter-widgets-disconnected";
const widget = factory();
const { signal } = new AbortController();
widget.initialize({ model, signal });
widget.render({ model, el: place, signal });
