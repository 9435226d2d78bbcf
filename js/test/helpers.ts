import type { Model } from "../src/bridge";
import {
  type AddedMap,
  type LiveText,
  type Measure,
  type PanelName,
  PROTOCOL_VERSION,
  type Run,
  type Tokens,
  type WindowTrait,
} from "../src/protocol";
import { createStore, type Store } from "../src/state";

/** A generator of numbers in [0, 1) that are the same on every run. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export function words(texts: string[]): Tokens {
  return {
    piece: texts,
    text: texts,
    gap: texts.map((_, i) => (i ? " " : "")),
    special: texts.map(() => 0),
    segment: texts.map(() => 0),
  };
}

export const TRAITS = () => ({
  meta: {
    version: PROTOCOL_VERSION,
    model: "tiny",
    pair_measures: [
      ["weight", "attention weight", "Where a head looked.", ""],
      ["lift", "lift over uniform", "Makes rows comparable.", ""],
      ["rollout", "attention rollout", "Heads are averaged.", "layers 0 to 2 were left out"],
    ] as [Measure, string, string, string][],
    stacks: [
      { name: "self", layers: 3, heads: 4, examples: [{ queries: words(["a", "b", "c"]), keys: null }] },
      { name: "cross", layers: 1, heads: 2, examples: [{ queries: words(["a"]), keys: words(["x", "y"]) }] },
    ],
  },
  stack: "self",
  batch: 0,
  layer: 1,
  head: 2,
  query: null as number | null,
  key: null as number | null,
  window: null as WindowTrait | null,
  direction: "from" as const,
  panels: ["grid", "heatmap", "lines", "text"] as PanelName[],
  threshold: 0.05,
  scale: "sqrt" as const,
  domain: null,
  colormap: "oslo" as const,
  theme: "light" as const,
  components: "size" as "size" | "index",
  threshold_kind: "weight" as "weight" | "mass",
  text: "" as LiveText,
  run: {} as Partial<Run>,
  maps: [] as AddedMap[],
  sort: null as string | null,
  ascending: false,
  like: null as [number, number] | null,
  filter: null as [string, number] | null,
  colour_by: null as string | null,
  measure: "weight" as const,
  diverging: "auto" as const,
  words: false,
  hidden_keys: [] as number[],
  heads: [] as number[],
  aggregate: null as "mean" | "max" | null,
  over: "layer" as "heads" | "layer" | "layers",
  ablation: "zero" as const,
  metric: "loss" as "loss" | "probability" | "logits",
  token: null as number | null,
});

export const store = (): Store => createStore(TRAITS());

export interface FakeModel extends Model {
  traits: Record<string, unknown>;
  sent: unknown[];
  saved: number;
  /** A change that came from the kernel. */
  arrive(name: string, value: unknown): void;
  emit(event: string, ...args: unknown[]): void;
}

export function fakeModel(traits: Record<string, unknown> = TRAITS()): FakeModel {
  const listeners = new Map<string, Set<(...args: unknown[]) => void>>();
  const model: FakeModel = {
    traits,
    sent: [],
    saved: 0,
    get: (name) => traits[name],
    set: (name, value) => {
      traits[name] = value;
      model.emit(`change:${name}`);
    },
    save_changes: () => {
      model.saved++;
    },
    send: (content) => {
      model.sent.push(content);
    },
    on: (event, callback) => {
      const set = listeners.get(event) ?? new Set();
      listeners.set(event, set.add(callback as (...args: unknown[]) => void));
    },
    off: (event, callback) => {
      listeners.get(event)?.delete(callback as (...args: unknown[]) => void);
    },
    arrive: (name, value) => model.set(name, value),
    emit: (event, ...args) => {
      for (const listener of listeners.get(event) ?? []) listener(...args);
    },
  };
  return model;
}

export const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

/** Numbers in [0, 1) that look random and are the same on every run. */
export function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
