/**
 * What a page with a kernel behind it can use. The kernel sends it, once, as a module of its own: the rest is stored in every
 * saved notebook, where hardly any of this could do anything. Pages made to be passed on hold both.
 */
import type { Asking } from "./asking";
import type { demand } from "./demand";
import { h } from "./dom";
import type { figure } from "./figure";
import type { findField } from "./find";
import type { createFinder, Finder } from "./finder";
import { overlay } from "./help";
import { headFacts } from "./keyheads";
import type { hideButton, hideSink, lensControls, toggleKey, toggleWords } from "./lenscontrols";
import type { liveBox } from "./livebox";
import type { measureControl } from "./measurecontrol";
import type { detail } from "./panels/detail";
import type { drawCells, drawNames } from "./panels/gridcells";
import type { gridTools as makeGridTools } from "./panels/gridtools";
import type { minimap } from "./panels/minimap";
import type { output } from "./panels/output";
import { makePanel, type Panel } from "./panels/panel";
import type { drawStrips, stripAt, stripWords } from "./panels/strips";
import { answers } from "./rpc";
import { batch, computed, effect, painting, signal } from "./signals";
import type { Store } from "./state";
import type { View } from "./view";

export interface Kit {
  /** How all of it looks. */
  css: string;
  Asking: typeof Asking;
  demand: typeof demand;
  createFinder: typeof createFinder;
  detail: typeof detail;
  output: typeof output;
  drawCells: typeof drawCells;
  drawNames: typeof drawNames;
  figure: typeof figure;
  gridTools: typeof makeGridTools;
  minimap: typeof minimap;
  liveBox: typeof liveBox;
  lensControls: typeof lensControls;
  measureControl: typeof measureControl;
  findField: typeof findField;
  hideButton: typeof hideButton;
  hideSink: typeof hideSink;
  toggleKey: typeof toggleKey;
  toggleWords: typeof toggleWords;
  drawStrips: typeof drawStrips;
  stripAt: typeof stripAt;
  stripWords: typeof stripWords;
}

/** What both modules must have from one place: whoever reads a signal is known there. */
const SHARED = { batch, computed, effect, painting, signal };
export type Shared = typeof SHARED;

/** Null until the kernel has sent it. One for all views of this script. */
export const kit = /* @__PURE__ */ signal<Kit | null>(null);

export async function takeKit(code: string): Promise<void> {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { default: make } = await import(/* @vite-ignore */ url);
  URL.revokeObjectURL(url);
  // Of several widgets the first one brings it.
  kit.value ??= make(SHARED) as Kit;
}

/** Lets the kit do its part as soon as it is here; until then `place` says what cannot be had. */
function withKit({ source }: View, use: (kit: Kit) => void, place?: HTMLElement, why = ""): () => void {
  let used = false;
  return effect(() => {
    if (used) return;
    used = kit.value !== null;
    const alone = !answers(source);
    place?.replaceChildren(...(alone && !used ? [h("p", { className: "empty", role: "status" }, why)] : []));
    if (kit.value) use(kit.value);
  });
}

/** An element that the kit makes; until then its place is empty. */
export function made(view: View, make: (kit: Kit) => HTMLElement): HTMLElement {
  let element: HTMLElement = h("span");
  const use = (kit: Kit) => {
    const place = element;
    element = make(kit);
    if (place.parentNode) place.replaceWith(element);
  };
  view.disposers.push(withKit(view, use));
  return element;
}

/** Asks for what the view needs. */
export function asking(view: View): void {
  view.disposers.push(withKit(view, ({ demand }) => demand(view)));
}

export function livePlace(view: View): HTMLElement {
  const box = h("div", { className: "live" });
  const why = "Editing the text needs a running kernel: run the cell again.";
  view.disposers.push(
    effect(() => {
      box.hidden = !view.store.text.value.length;
    }),
    withKit(view, ({ liveBox }) => liveBox(view, box), box, why),
  );
  return box;
}

export function figureDialog(root: HTMLElement, view: View): HTMLDialogElement {
  const place = h("div");
  const dialog = overlay("Figure and numbers", place);
  const why = "This needs a running kernel: run the cell again.";
  view.disposers.push(withKit(view, ({ figure }) => figure(root, view, dialog, place), place, why));
  return dialog;
}

/** A panel that the kit makes. */
export const kitPanel =
  (name: "detail" | "output", title: string, why: string) =>
  (view: View): Panel => {
    const panel = makePanel(view, name, title);
    panel.onDispose(withKit(view, (kit) => kit[name](view, panel), panel.body, `${why} a running kernel.`));
    return panel;
  };

/** The controls of the grid. */
export function gridTools(view: View, panel: Panel): HTMLElement {
  const place = h("div", { className: "tools" });
  const why = "Sorting heads by what they do needs a running kernel.";
  panel.onDispose(withKit(view, ({ gridTools }) => panel.onDispose(gridTools(view, place)), place, why));
  return place;
}

/** Heads as the model has them, of which nothing is measured. */
export const plainFinder = (store: Store): Finder => ({
  flow: signal(null),
  colour: signal(null),
  words: signal(""),
  wants: () => [],
  label: () => "",
  facts: (head) => headFacts(store, head),
  toggleLike() {},
});
