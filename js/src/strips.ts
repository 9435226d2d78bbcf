/** The strips along the axes that are here. */
import type { Cache } from "./cache";
import type { HeadRef, Marginals } from "./datasource";
import { sameHead } from "./state";
import { type Item, type MarginalsWant, wantKey } from "./wants";
import type { Window } from "./window";

const size = ({ window: [a, b, c, d] }: MarginalsWant) => (b - a) * (d - c);

export class Strips {
  #known: MarginalsWant[] = [];

  constructor(readonly cache: Cache<Item>) {}

  add(want: MarginalsWant): void {
    const key = wantKey(want);
    const others = this.#known.map((other) => [other, wantKey(other)] as const);
    this.#known = others.filter(([, name]) => name !== key && this.cache.has(name)).map(([other]) => other);
    this.#known.push(want);
  }

  /** Those of the smallest window that holds this one. */
  over(head: HeadRef, { queries, keys }: Window): Marginals | null {
    const best = this.#known
      .filter(
        ({ ref, window: [a, b, c, d] }) =>
          sameHead(ref, head) && a <= queries[0] && queries[1] <= b && c <= keys[0] && keys[1] <= d,
      )
      .sort((a, b) => size(a) - size(b))
      .map(wantKey)
      .find((key) => this.cache.has(key));
    return best ? (this.cache.get(best) as Marginals) : null;
  }
}
