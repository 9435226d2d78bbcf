/** Every head of the stack as a small heatmap: layers down, heads across. */
import { fit, surface } from "../canvas";
import { attr, h } from "../dom";
import { type GridGeometry, gridGeometry, headAt, visibleHeads } from "../gridgeometry";
import { moved, pointing } from "../pointing";
import { scroller } from "../scroller";
import { signal } from "../signals";
import { type HeadIndex, sameHead } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { makePanel, type Panel } from "./panel";
import { Thumbnails } from "./thumbnails";

const LABEL = "All heads. Arrow keys preview a head, Enter or Space locks it.";

export function grid(view: View): Panel {
  const { store, select, frames } = view;
  const panel = makePanel(view, "grid", "Layers × heads");
  const over = surface("grid-overlay", "over");
  const area = scroller("grid", LABEL, () => repaint(), over.canvas);
  const current = h("div", { className: "hidden", id: "current", role: "option" });
  area.element.append(current);
  attr(area.element, "role", "listbox");
  attr(area.element, "aria-activedescendant", "current");
  panel.body.append(area.element);
  const thumbnails = new Thumbnails();
  const geometry = signal<GridGeometry | null>(null);
  let seen = { width: 0, height: 0 };
  let scrolls = false;
  let revealed: HeadIndex | null = null;

  const reveal = ({ layer, head }: HeadIndex) => {
    const g = geometry.peek();
    if (g) area.reveal(g.left + head * g.pitchX, g.top + layer * g.pitchY, g.pitchX, g.pitchY, g.left, g.top);
  };

  const repaint = panel.painting(() => {
    const { stack, queries, keys } = store.shown.value;
    const high = view.panelHeight.value;
    const g = gridGeometry(stack.layers, stack.heads, keys / queries, panel.width.value, high);
    seen = area.fit(g.totalWidth, g.totalHeight, panel.width.value, high);
    geometry.value = g;
    scrolls = seen.width < g.totalWidth || seen.height < g.totalHeight;
    if (revealed !== store.lockedHead.value) {
      revealed = store.lockedHead.value;
      reveal(revealed);
    }
    const heads = visibleHeads(g, area.x, area.y, seen.width, seen.height, store.lockedHead.value);
    const now = view.onScreen.value ? heads : [];
    if (JSON.stringify(now) !== JSON.stringify(view.visibleHeads.peek())) view.visibleHeads.value = now;
    const { context } = area;
    thumbnails.draw(view, context, g, heads, area.x, area.y);
    const colours = palette(view.dark.value);
    context.fillStyle = colours.page;
    context.fillRect(0, 0, g.left - 2, seen.height);
    context.fillRect(0, 0, seen.width, g.top - 2);
    context.fillStyle = colours.muted;
    for (let n = 0, step = Math.ceil(19 / g.pitchX); n < g.heads; n += step) {
      const x = g.left + n * g.pitchX + g.width / 2 - area.x;
      context.textAlign = "center";
      if (x > g.left) context.fillText(String(n), x, g.top - 9);
    }
    for (let n = 0, step = Math.ceil(13 / g.pitchY); n < g.layers; n += step) {
      const y = g.top + n * g.pitchY + g.height / 2 - area.y;
      context.textAlign = "right";
      if (y > g.top) context.fillText(String(n), g.left - 7, y + 0.5);
    }
  });

  panel.painting(() => {
    const g = geometry.value;
    if (!g) return;
    const colours = palette(view.dark.value);
    fit(over, seen.width, seen.height);
    const { context } = over;
    const outline = ({ layer, head }: HeadIndex, ink: string, weight: number) => {
      context.strokeStyle = ink;
      context.lineWidth = weight;
      const x = g.left + head * g.pitchX - area.x;
      const y = g.top + layer * g.pitchY - area.y;
      if (x < g.left - 4 || y < g.top - 4) return;
      context.strokeRect(x - 1.5, y - 1.5, g.width + 3, g.height + 3);
    };
    outline(store.lockedHead.value, colours.accent, 2);
    const { layer, head } = store.shownHead.value;
    const preview =
      store.hoverHead.value !== null && !sameHead(store.shownHead.value, store.lockedHead.value);
    if (preview) outline(store.shownHead.value, colours.ink, 1);
    current.textContent = `layer ${layer} head ${head}`;
    panel.note.textContent = preview
      ? `preview of layer ${layer} head ${head}`
      : scrolls
        ? `${g.layers} × ${g.heads} heads, scroll for the rest`
        : "hover previews, click locks";
  });

  pointing<HeadIndex>(area.element, frames, {
    at: ({ offsetX: x, offsetY: y }) => {
      const g = geometry.value;
      return g && x > g.left && y > g.top ? headAt(g, x + area.x, y + area.y) : null;
    },
    hover: (index) => select.hoverHead(index),
    lock: (index) => select.lockHead(index),
    arrow(down, right) {
      const { layer, head } = store.shownHead.value;
      const { layers, heads } = store.shown.value.stack;
      const next = { layer: moved(layer, down, layers), head: moved(head, right, heads) };
      select.hoverHead(next);
      reveal(next);
    },
    current: () => store.shownHead.value,
  });
  return panel;
}
