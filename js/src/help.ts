/** The overlay that names every key and gesture. */
import { h, iconButton } from "./dom";
import { on } from "./pointing";

const LINES: readonly (readonly [string, string])[] = [
  ["hover", "shows a head, a cell or a token in every panel"],
  ["click", "locks it; the same click again releases"],
  ["Esc", "releases the lock"],
  ["[ ]", "previous, next head"],
  ["{ }", "previous, next layer"],
  ["arrows", "move inside the panel that has the focus"],
  ["Shift + arrows", "move by a tenth"],
  ["Enter, Space", "lock what the arrows are on"],
  ["s", "heads like the locked one first; Esc: no longer"],
  ["on a head's square", "click draws its lines too or not, double click or Enter alone, or all again"],
  [
    "/, ctrl + F",
    "find a token by its text, or jump to one with #index; Enter next, Shift + Enter previous, Esc ends",
  ],
  ["Ctrl or ⌘ + Enter", "in the text box: runs the model on the text; Esc there cancels"],
  ["w", "merges sub-words to words, and back"],
  ["h", "hides the key in focus, its rows renormalised over the others; again shows it"],
  ["+ - 0", "on the heatmap: zoom in, zoom out, whole head"],
  ["Ctrl + wheel, pinch", "zooms at the pointer; after a click the wheel alone does, until Esc"],
  ["double click", "zooms in"],
  ["drag", "moves a zoomed heatmap; Shift + wheel sideways"],
  ["Shift + drag", "zooms to a box"],
  ["d", "scores and query-key detail: how the weight of the locked pair came about"],
  ["o", "what the model says, and which heads matter for it"],
  ["r", "turns the direction round: what a token looks at, or what looks at it"],
  ["p", "the list of panels: Space shows or hides one"],
  ["e", "saves a figure or numbers, copies the Python line"],
  ["Tab", "to the next panel or control"],
  ["?", "this help"],
];

/** A native dialog: it keeps the focus, closes with Esc and gives the focus back. */
export function overlay(title: string, ...content: Node[]): HTMLDialogElement {
  const close = iconButton("✕", "Close, key Esc");
  const dialog = h("dialog", { aria: { label: title } }, h("h3", {}, title, close), ...content);
  on(close, "click", () => dialog.close());
  on(dialog, "click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  return dialog;
}

export function help(): HTMLDialogElement {
  const list = LINES.flatMap(([key, what]) => [h("dt", {}, key), h("dd", {}, what)]);
  return overlay("Keys and mouse", h("dl", {}, ...list));
}
