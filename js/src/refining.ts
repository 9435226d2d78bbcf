/** How far refinements are. One that was left goes on from where it was: the kernel keeps for a while what was begun. */
import type { Tile } from "./codes";
import { type TileWant, type Want, wantKey } from "./wants";

export class Refining {
  readonly #done = new Map<string, number>();

  note(want: Want, done: number): void {
    this.#done.set(wantKey(want), done);
  }

  /** The part done of those wanted, from 0 to 1; null where nothing is left to refine. */
  progress(wants: readonly Want[], here: (want: TileWant) => Tile | null): number | null {
    let sum = 0;
    let count = 0;
    let open = false;
    const wanted = new Set<string>();
    for (const want of wants) {
      const tile = want.kind === "refine" && here(want.of);
      const key = wantKey(want);
      if (!tile || wanted.has(key)) continue;
      wanted.add(key);
      const begun = this.#done.get(key);
      // What came exact at once was never waited for.
      if (!tile.rows && begun === undefined) continue;
      open ||= Boolean(tile.rows);
      sum += tile.rows ? (begun ?? 0) : 1;
      count++;
    }
    for (const [key, done] of this.#done)
      if (done === 1 && !(open && wanted.has(key))) this.#done.delete(key);
    return open ? sum / count : null;
  }
}
