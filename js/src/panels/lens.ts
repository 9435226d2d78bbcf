/** The window as gestures move it: around a place of the plot, by pixels, or around what is focused. */
import { axisOf, type HeatGeometry, placeAt, type Side, tokenAt } from "../heatgeometry";
import type { Selection } from "../select";
import type { ReadonlySignal } from "../signals";
import { boxed, clampWindow, panned, sameWindow, type Window, zoomed } from "../window";

export interface Point {
  x: number;
  y: number;
}

/** In pixels of the canvas. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

const clip = (at: number, start: number, extent: number) => Math.max(start, Math.min(start + extent, at));

export class Lens {
  constructor(
    readonly select: Selection,
    readonly geometry: ReadonlySignal<HeatGeometry | null>,
  ) {}

  get window(): Window {
    return this.select.store.visible.peek();
  }

  get shape() {
    return this.select.store.shown.peek();
  }

  /** Shows a window; says whether it is another one than before. */
  look(next: Window): boolean {
    if (sameWindow(next, this.window)) return false;
    this.select.look(next);
    return true;
  }

  /** Shows a window, moved into the head where it sticks out. */
  show(next: Window): boolean {
    return this.look(clampWindow(next, this.shape));
  }

  settle(): void {
    this.select.settle();
  }

  inPlot({ x, y }: Point): boolean {
    const g = this.geometry.peek();
    return g !== null && tokenAt(g, "keys", x) !== null && tokenAt(g, "queries", y) !== null;
  }

  /** The nearest point of the plot. */
  clip(g: HeatGeometry, { x, y }: Point): Point {
    return { x: clip(x, g.left, g.width), y: clip(y, g.top, g.height) };
  }

  /** Zooms by a factor (below 1: in) around a point, which keeps its place; without one around the focus, or the middle. */
  zoom(factor: number, around?: Point): boolean {
    const g = this.geometry.peek();
    if (!g) return false;
    const place = around && this.clip(g, around);
    const { query, key } = this.select.store.focus.peek();
    const at = (side: Side, token: number | null, offset?: number) => {
      if (offset !== undefined) return placeAt(g, side, offset);
      const [start, stop] = this.window[side];
      return token !== null && token >= start && token < stop ? token + 0.5 : (start + stop) / 2;
    };
    const [down, across] = [at("queries", query, place?.y), at("keys", key, place?.x)];
    return this.look(zoomed(this.window, this.shape, factor, down, across));
  }

  /** Moves what is seen by pixels, from where it was when `start` was the window. */
  pan(start: Window, right: number, down: number): boolean {
    const g = this.geometry.peek();
    if (!g) return false;
    const by = (side: Side, pixels: number) =>
      (-pixels / axisOf(g, side).extent) * (start[side][1] - start[side][0]);
    return this.look(panned(start, this.shape, by("queries", down), by("keys", right)));
  }

  /** Shows what a box encloses, whole cells of it. */
  enclose({ left, top, right, bottom }: Box): void {
    const g = this.geometry.peek();
    if (!g) return;
    const ends = (side: Side, a: number, b: number): [number, number] => [
      Math.floor(placeAt(g, side, a)),
      Math.ceil(placeAt(g, side, b)),
    ];
    const box = { queries: ends("queries", top, bottom), keys: ends("keys", left, right) };
    this.look(boxed(this.window, this.shape, box));
  }
}
