/** Many heads as one: which they are, and what that is called. */

import type { HeadRef } from "./datasource";
import { count } from "./format";
import type { Over, Reduce, StackMeta } from "./protocol";

/** Every layer and head that counts, in order. */
export interface Aggregate {
  reduce: Reduce;
  layers: number[];
  heads: number[];
}

/** Heads that a reference stands for. */
export const headsOf = ({ aggregate: a }: HeadRef) => (a ? a.layers.length * a.heads.length : 1);

/** What tells one head, or one aggregate, from the others of its stack. */
export const headName = ({ layer, head, aggregate: a }: HeadRef) =>
  a ? `${a.reduce} ${a.layers} ${a.heads}` : `${layer}|${head}`;

/** Whether a stack has all of these. */
export const exists = ({ layer, head, aggregate: a }: Omit<HeadRef, "stack" | "batch">, stack: StackMeta) =>
  a
    ? Math.max(...a.layers) < stack.layers && Math.max(...a.heads) < stack.heads
    : layer >= 0 && head >= 0 && layer < stack.layers && head < stack.heads;

export function aggregateOf(
  reduce: Reduce,
  over: Over,
  layer: number,
  active: readonly number[],
  stack: StackMeta,
): Aggregate {
  const all = (n: number) => Array.from({ length: n }, (_, i) => i);
  return {
    reduce,
    layers: over === "layers" ? all(stack.layers) : [layer],
    heads: over === "heads" ? [...active] : all(stack.heads),
  };
}

/** `layer 3 head 5`, `mean of 12 heads, layer 3`, `max over all 144 heads`. */
export function headWords(ref: HeadRef, { layers, heads, measure }: StackMeta): string {
  const { layer, head, aggregate: a } = ref;
  const whole = measure?.whole;
  if (!a) return whole ? `layer ${layer}` : `layer ${layer} head ${head}`;
  const n = headsOf(ref);
  const all = n === layers * heads;
  const some = `${a.reduce} ${a.reduce === "mean" ? "of" : "over"} ${all && n > 1 ? "all " : ""}${count(n, whole ? "layer" : "head")}`;
  return all ? some : `${some}, layer ${a.layers}`;
}
