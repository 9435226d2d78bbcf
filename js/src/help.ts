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
  ["on a head's square", "click draws its lines too or not, double click or Enter alone, or all again"],
  ["/, ctrl + F", "find a token by its text, or jump to one with #index"],
  ["+ - 0", "on the heatmap: zoom in, zoom out, whole head"],
  ["Ctrl + wheel, pinch", "zooms at the pointer; after a click the wheel alone does, until Esc"],
  ["double click", "zooms in"],
  ["drag", "moves a zoomed heatmap; Shift + wheel sideways"],
  ["Shift + drag", "zooms to a box"],
  ["Tab", "to the next panel or control"],
  ["?", "this help"],
];

/** A native dialog: it keeps the focus, closes with Esc and gives the focus back. */
export function help(): HTMLDialogElement {
  const close = iconButton("✕", "Close, key Esc");
  const list = h("dl", {}, ...LINES.flatMap(([key, what]) => [h("dt", {}, key), h("dd", {}, what)]));
  const dialog = h("dialog", {}, h("h3", {}, "Keys and mouse", close), list);
  on(close, "click", () => dialog.close());
  on(dialog, "click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  return dialog;
}
