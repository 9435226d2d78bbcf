/** Stands in for `signals.ts` in the module that the kernel sends: the signals are those of the view it comes to. */
import type { Shared } from "./kit";

export let batch: Shared["batch"];
export let computed: Shared["computed"];
export let effect: Shared["effect"];
export let painting: Shared["painting"];
export let signal: Shared["signal"];

export function share(shared: Shared): void {
  ({ batch, computed, effect, painting, signal } = shared);
}
