/** Who needs what, and what of it may be asked for now. */
import { type Want, wantKey } from "./wants";

export class Queue {
  readonly #wants = new Map<object, readonly (readonly Want[])[]>();
  #wanted = new Set<string>();
  readonly pending = new Set<string>();
  readonly failed = new Set<string>();

  /** `has`: whether nothing of a want is still to come. */
  constructor(readonly has: (want: Want) => boolean) {}

  put(owner: object, phases: readonly (readonly Want[])[]): void {
    if (phases.some((wants) => wants.length)) this.#wants.set(owner, phases);
    else this.#wants.delete(owner);
    const all = [...this.#wants.values()].flat(2);
    this.#wanted = new Set(all.map((want) => wantKey(want.kind === "refine" ? want.of : want)));
  }

  /** Whether what has this name in the cache is needed by anyone. */
  wanted(key: string): boolean {
    return this.#wanted.has(key);
  }

  /** All wants of a phase that did not fail. */
  phase(nth: number): Want[] {
    return [...this.#wants.values()]
      .flatMap((phases) => phases[nth] ?? [])
      .filter((want) => !this.failed.has(wantKey(want)));
  }

  /** What may be asked for, most urgent first, and the refinement that holds back what comes after it. */
  open(): { open: Map<string, Want>; refine: Want | null } {
    const open = new Map<string, Want>();
    const phases = Math.max(0, ...[...this.#wants.values()].map((each) => each.length));
    for (let nth = 0; nth < phases; nth++)
      for (const want of this.phase(nth)) {
        if (this.has(want)) continue;
        const key = wantKey(want);
        const pending = this.pending.has(key);
        if (want.kind === "refine" || want.kind === "patterns")
          return { open, refine: pending ? null : want };
        if (!pending) open.set(key, want);
      }
    return { open, refine: null };
  }
}
