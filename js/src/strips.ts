/** The strips along the axes that are here, by head and window. */
import type { HeadRef, Marginals } from "./source";
import { headKey, type MarginalsWant, wantKey } from "./wants";
import type { Window } from "./window";

const size = ({ window: [a, b, c, d] }: MarginalsWant) => (b - a) * (d - c);

export class Strips {
  readonly #windows = new Map<string, MarginalsWant[]>();

  /** `get`: what the cache still has. */
  constructor(readonly get: (key: string) => Marginals | undefined) {}

  add(want: MarginalsWant): void {
    const others = this.#of(want.ref).filter((other) => wantKey(other) !== wantKey(want));
    this.#windows.set(headKey(want.ref), [...others, want]);
  }

  /** Those of the smallest window that holds this one. */
  over(ref: HeadRef, { queries, keys }: Window): Marginals | null {
    const best = this.#of(ref)
      .filter(
        ({ window: [a, b, c, d] }) => a <= queries[0] && queries[1] <= b && c <= keys[0] && keys[1] <= d,
      )
      .sort((a, b) => size(a) - size(b))[0];
    return (best && this.get(wantKey(best))) ?? null;
  }

  #of(ref: HeadRef): MarginalsWant[] {
    return (this.#windows.get(headKey(ref)) ?? []).filter((want) => this.get(wantKey(want)));
  }
}
