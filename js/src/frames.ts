/** One animation frame per view: every panel paints in it at most once. */
const HOVER = "attnwidget:hover";
const KEEP = 500;
/** Frames without a change before what is patient is painted. */
const REST = 1;

export class Frames {
  readonly #tasks = new Set<() => void>();
  /** Tasks that wait until nobody has asked for them again for this many frames. */
  readonly #patient = new Map<() => void, number>();
  #frame = 0;
  #hoverStart = 0;
  #hoverCost = -1;
  #measures = 0;
  /** Runs at the end of every frame that painted something. */
  after: () => void = () => {};

  request(task: () => void, patient = false): void {
    if (patient) this.#patient.set(task, REST);
    else this.#tasks.add(task);
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  /** Runs what a pointer asked for; its script time with the frame it causes is recorded. */
  hover(run: () => void): void {
    const start = performance.now();
    run();
    const cost = performance.now() - start;
    if (this.#hoverCost < 0) this.#hoverStart = start;
    this.#hoverCost = Math.max(this.#hoverCost, 0) + cost;
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  dispose(): void {
    cancelAnimationFrame(this.#frame);
    this.#tasks.clear();
    this.#patient.clear();
    this.after = () => {};
  }

  #flush(): void {
    const start = performance.now();
    for (const [task, frames] of this.#patient)
      if (frames) this.#patient.set(task, frames - 1);
      else this.#tasks.add(task);
    for (const task of this.#tasks) this.#patient.delete(task);
    const painted = this.#tasks.size > 0;
    // A painting may ask for another, an overlay for its new base: that still happens in this frame.
    for (const task of this.#tasks) {
      this.#tasks.delete(task);
      task();
    }
    this.#frame = this.#patient.size ? requestAnimationFrame(() => this.#flush()) : 0;
    if (this.#hoverCost >= 0) this.#record(this.#hoverCost + performance.now() - start);
    if (painted) this.after();
  }

  #record(duration: number): void {
    this.#hoverCost = -1;
    // The browser keeps measures for ever; a long session must not grow.
    if (++this.#measures % KEEP === 0) performance.clearMeasures(HOVER);
    performance.measure(HOVER, { start: this.#hoverStart, duration });
  }
}
