/** One animation frame per view: every panel paints in it at most once. */
const HOVER = "attnwidget:hover";
const KEEP = 500;

export class Frames {
  readonly #tasks = new Set<() => void>();
  #frame = 0;
  #hoverStart = 0;
  #hoverCost = -1;
  #measures = 0;
  /** Runs at the end of every frame that painted something. */
  after: () => void = () => {};

  request(task: () => void): void {
    this.#tasks.add(task);
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
    this.after = () => {};
  }

  #flush(): void {
    const start = performance.now();
    const painted = this.#tasks.size > 0;
    // A painting may ask for another, an overlay for its new base: that still happens in this frame.
    for (const task of this.#tasks) {
      this.#tasks.delete(task);
      task();
    }
    this.#frame = 0;
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
