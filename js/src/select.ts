/** Every way to change the selection. Panels write through here and nowhere else. */

import type { PanelName } from "./protocol";
import { batch, type Signal } from "./signals";
import type { HeadIndex, Pair, Store } from "./state";
import { revealing, toTrait, type Window } from "./window";

/** Leaving a token for its neighbour crosses a gap; falling back at once would flicker. */
const GRACE = 120;
/** A wheel or a drag pauses between its events; only a longer rest ends it. */
const REST = 250;

/** Sets a hover at once, and takes it back after the grace unless another came in between. */
function lingering<T extends object>(target: Signal<T | null>) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (next: T | null, grace = GRACE) => {
    clearTimeout(timer);
    const left = target.peek();
    // Another view of the same widget may have the pointer by then.
    const clear = () => {
      if (target.peek() === left) target.value = null;
    };
    if (next === null && grace) timer = setTimeout(clear, grace);
    else if (next === null) clear();
    else if (JSON.stringify(next) !== JSON.stringify(target.peek())) target.value = next;
  };
}

export class Selection {
  readonly hoverHead: (index: HeadIndex | null, grace?: number) => void;
  #rest: ReturnType<typeof setTimeout> | undefined;
  readonly #hover: (pair: (Pair & { panel: PanelName }) | null, grace?: number) => void;

  constructor(readonly store: Store) {
    this.hoverHead = lingering(store.hoverHead);
    this.#hover = lingering(store.hoverPair);
  }

  hover(pair: Pair | null, panel: PanelName): void {
    this.#hover(pair && { ...pair, panel });
  }

  /** Locks a pair, or only one side of it; the same again releases. */
  lock(pair: Pair): void {
    const { query, key } = this.store.locked.value;
    if (query === pair.query && key === pair.key) this.release();
    else this.restore(pair);
  }

  release(): void {
    this.endHover();
    this.restore({ query: null, key: null });
  }

  /** Makes the lock what it was, whatever it is now. */
  restore({ query, key }: Pair): void {
    batch(() => {
      this.store.query.value = query;
      this.store.key.value = key;
    });
  }

  lockHead({ layer, head }: HeadIndex): void {
    batch(() => {
      this.store.layer.value = layer;
      this.store.head.value = head;
    });
  }

  /** Shows a panel, last of all, or takes it away; the only one stays. */
  togglePanel(name: PanelName): void {
    const { panels } = this.store;
    const others = panels.value.filter((each) => each !== name);
    if (others.length === panels.value.length) panels.value = [...others, name];
    else if (others.length) panels.value = others;
  }

  /** Draws a head together with those that are drawn already, or no longer; the last one stays. */
  toggleHead(head: number): void {
    const now = this.store.active.value;
    const next = now.includes(head) ? now.filter((other) => other !== head) : [...now, head];
    if (next.length) this.#draw(next.sort((a, b) => a - b));
  }

  /** Draws a head alone, and shows it in every panel; all heads, if it was alone. */
  isolateHead(head: number): void {
    const { active, shown } = this.store;
    if (active.value.join() === String(head))
      this.#draw(Array.from({ length: shown.value.stack.heads }, (_, i) => i));
    else
      batch(() => {
        this.store.head.value = head;
        this.#draw([head]);
      });
  }

  #draw(heads: number[]): void {
    batch(() => {
      this.store.over.value = this.store.aggregate.value ? "heads" : this.store.over.value;
      this.store.heads.value = heads.join() === String(this.store.lockedHead.value.head) ? [] : heads;
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

  /** Shows a part of the head at once; the trait follows when the gesture has come to rest. */
  look(window: Window): void {
    this.store.draftWindow.value = window;
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.settle(), REST);
  }

  /** Commits the window of a gesture. */
  settle(): void {
    clearTimeout(this.#rest);
    const { draftWindow, shown, window } = this.store;
    const draft = draftWindow.peek();
    if (!draft) return;
    const next = toTrait(this.store.visible.peek(), shown.peek());
    batch(() => {
      draftWindow.value = null;
      if (JSON.stringify(next) !== JSON.stringify(window.peek())) window.value = next;
    });
  }

  /** Shows the whole head again. */
  lookAll(): void {
    clearTimeout(this.#rest);
    batch(() => {
      this.store.draftWindow.value = null;
      this.store.window.value = null;
    });
  }

  /** Moves the window, if it must, until the token is in it. */
  reveal({ query, key }: Pair): void {
    const { visible, shown } = this.store;
    const next = revealing(visible.peek(), shown.peek(), query, key);
    if (next !== visible.peek()) this.look(next);
  }

  endHover(): void {
    batch(() => {
      this.#hover(null, 0);
      this.hoverHead(null, 0);
    });
  }
}
