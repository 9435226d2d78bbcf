/** Every way to change the selection. Panels write through here and nowhere else. */

import type { PanelName } from "./protocol";
import { batch } from "./signals";
import type { HeadIndex, Pair, Store } from "./state";

/** Leaving a token for its neighbour crosses a gap; falling back at once would flicker. */
const GRACE = 120;

export class Selection {
  #pairTimer: ReturnType<typeof setTimeout> | undefined;
  #headTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly store: Store) {}

  hover(pair: Pair | null, panel: PanelName): void {
    clearTimeout(this.#pairTimer);
    const now = this.store.hoverPair;
    if (pair === null) {
      this.#pairTimer = setTimeout(() => {
        now.value = null;
      }, GRACE);
    } else if (now.value?.query !== pair.query || now.value?.key !== pair.key) now.value = { ...pair, panel };
  }

  hoverHead(index: HeadIndex | null): void {
    clearTimeout(this.#headTimer);
    const now = this.store.hoverHead;
    if (index === null) {
      this.#headTimer = setTimeout(() => {
        now.value = null;
      }, GRACE);
    } else if (now.value?.layer !== index.layer || now.value?.head !== index.head) now.value = index;
  }

  /** Locks a pair, or only one side of it; the same again releases. */
  lock(pair: Pair): void {
    const { query, key } = this.store.locked.value;
    if (query === pair.query && key === pair.key) this.release();
    else
      batch(() => {
        this.store.query.value = pair.query;
        this.store.key.value = pair.key;
      });
  }

  release(): void {
    this.endHover();
    batch(() => {
      this.store.query.value = null;
      this.store.key.value = null;
    });
  }

  lockHead({ layer, head }: HeadIndex): void {
    batch(() => {
      this.store.layer.value = layer;
      this.store.head.value = head;
    });
  }

  /** To the neighbouring head or layer; stops at the ends. */
  step(layers: number, heads: number): void {
    const { stack } = this.store.shown.value;
    const { layer, head } = this.store.lockedHead.value;
    this.lockHead({
      layer: Math.max(0, Math.min(stack.layers - 1, layer + layers)),
      head: Math.max(0, Math.min(stack.heads - 1, head + heads)),
    });
  }

  endHover(): void {
    clearTimeout(this.#pairTimer);
    clearTimeout(this.#headTimer);
    batch(() => {
      this.store.hoverPair.value = null;
      this.store.hoverHead.value = null;
    });
  }
}
