/** What the model says of a head: the key-value head it shares, the window of its layer. */
import { dots, grouped } from "./format";
import type { Range } from "./protocol";
import type { HeadIndex, Store } from "./state";

/** The key-value head of a head, and the heads that share it; null where each has its own, or it is not known. */
export function keyHead(
  { shown }: Store,
  { layer, head }: HeadIndex,
): { index: number; heads: Range } | null {
  const { heads, key_heads } = shown.value.stack;
  const group = heads / (key_heads?.[layer] ?? heads);
  const index = Math.floor(head / group);
  return group > 1 ? { index, heads: [index * group, (index + 1) * group - 1] } : null;
}

export function windowWords({ shown }: Store, layer: number): string {
  const window = shown.value.stack.windows?.[layer];
  return window ? `window ${grouped(window)}` : "";
}

export const headFacts = (store: Store, head: HeadIndex): string => {
  const shared = keyHead(store, head);
  return dots(shared ? `kv head ${shared.index}` : "", windowWords(store, head.layer));
};
