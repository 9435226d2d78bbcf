/** Every head of the stack as a small heatmap: layers down, heads across, or a flow in the order of a measure. */
import { fit, surface } from "../canvas";
import { attr, h } from "../dom";
import {
  cornerOf,
  type GridGeometry,
  gridGeometry,
  headAt,
  headOf,
  placeBeside,
  placeOf,
  visibleHeads,
} from "../gridgeometry";
import { gridTools, kit } from "../kit";
import { pointing } from "../pointing";
import { scroller } from "../scroller";
import { signal } from "../signals";
import { type HeadIndex, sameHead } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { drawMargins, groupAt, marginWords } from "./gridmarks";
import { makePanel, type Panel } from "./panel";
import { Thumbnails } from "./thumbnails";

const LABEL = "All heads. Arrow keys preview a head, Enter or Space locks it.";

/** The height that the controls take of the panel. */
const TOOLS = 76;

export function grid(view: View): Panel {
  const { store, select, frames } = view;
  const panel = makePanel(view, "grid", "Layers × heads");
  const over = surface("grid-overlay", "over");
  const area = scroller("grid", LABEL, () => repaint(), over.canvas);
  const current = h("div", { className: "hidden", id: "current", role: "option" });
  area.element.append(current);
  attr(area.element, "role", "listbox");
  attr(area.element, "aria-activedescendant", "current");
  panel.body.append(gridTools(view, panel), area.element);
  const thumbnails = new Thumbnails();
  const geometry = signal<GridGeometry | null>(null);
  const margin = signal("");
  let size = { width: 0, height: 0 };
  let scrolls = false;
  let revealed = "";
  const seen = () => ({ x: area.x, y: area.y, ...size });

  const reveal = (head: HeadIndex) => {
    const g = geometry.peek();
    const place = g ? placeOf(g, head) : -1;
    if (!g || place < 0) return;
    const { x, y } = cornerOf(g, place);
    area.reveal(x, y, g.pitchX, g.pitchY, g.left, g.top);
  };

  const repaint = panel.painting(() => {
    const { stack, queries, keys } = store.shown.value;
    const high = view.panelHeight.value - TOOLS;
    const flow = view.finder.flow.value;
    const marks = { flow, groups: groupAt(view, 0) !== null, windows: Boolean(stack.windows) };
    const g = gridGeometry(stack.layers, stack.heads, keys / queries, panel.width.value, high, marks);
    size = area.fit(g.totalWidth, g.totalHeight, panel.width.value, high);
    geometry.value = g;
    scrolls = size.width < g.totalWidth || size.height < g.totalHeight;
    const locked = store.lockedHead.value;
    // Where it stands may have changed with the order.
    const stands = `${placeOf(g, locked)} ${JSON.stringify(locked)} ${g.count}`;
    if (revealed !== stands) {
      revealed = stands;
      reveal(locked);
    }
    const heads = visibleHeads(g, area.x, area.y, size.width, size.height, locked);
    const coloured = view.finder.colour.value !== null;
    const now = view.onScreen.value && !coloured ? heads : [];
    if (JSON.stringify(now) !== JSON.stringify(view.visibleHeads.peek())) view.visibleHeads.value = now;
    const { context } = area;
    if (coloured) kit.value!.drawCells(view, context, g, heads, seen());
    else thumbnails.draw(view, context, g, heads, area);
    if (flow) kit.value!.drawNames(view, context, g, heads, seen());
    else drawMargins(view, context, g, seen());
  });

  panel.painting(() => {
    const g = geometry.value;
    if (!g) return;
    const colours = palette(view.dark.value);
    fit(over, size.width, size.height);
    const { context } = over;
    const outline = (head: HeadIndex, ink: string, weight: number) => {
      const place = placeOf(g, head);
      if (place < 0) return;
      context.strokeStyle = ink;
      context.lineWidth = weight;
      const { x, y } = cornerOf(g, place, area);
      if (!g.flow && (x < g.left - 4 || y < g.top - 4)) return;
      context.strokeRect(x - 1.5, y - 1.5, g.width + 3, g.height + 3);
    };
    outline(store.lockedHead.value, colours.accent, 2);
    const shown = store.shownHead.value;
    const { layer, head } = shown;
    const preview = store.hoverHead.value !== null && !sameHead(shown, store.lockedHead.value);
    if (preview) outline(shown, colours.ink, 1);
    const label = view.finder.label(shown);
    current.textContent = [`layer ${layer} head ${head}`, label, view.finder.facts(shown)]
      .filter(Boolean)
      .join(", ");
    panel.note.textContent =
      margin.value ||
      (label
        ? `${layer}.${head} ${label}`
        : preview
          ? `preview of layer ${layer} head ${head}`
          : scrolls
            ? `${g.count} heads, scroll for the rest`
            : "hover previews, click locks");
  });

  pointing<HeadIndex>(area.element, frames, {
    at: ({ offsetX: x, offsetY: y }) => {
      const g = geometry.value;
      return g && (g.flow || (x > g.left && y > g.top)) ? headAt(g, x + area.x, y + area.y) : null;
    },
    hover(index, event) {
      const g = geometry.value;
      margin.value =
        g && event && !index
          ? marginWords(
              view,
              g,
              event.offsetX + (event.offsetX > g.left ? area.x : 0),
              event.offsetY + (event.offsetY > g.top ? area.y : 0),
            )
          : "";
      select.hoverHead(index);
    },
    lock: (index) => select.lockHead(index),
    arrow(down, right) {
      const g = geometry.value;
      if (!g?.count) return;
      const next = headOf(g, placeBeside(g, placeOf(g, store.shownHead.value), down, right));
      select.hoverHead(next);
      reveal(next);
    },
    current: () => store.shownHead.value,
  });
  return panel;
}
