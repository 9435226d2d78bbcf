/** One head: queries down, keys across, crosshair and lock on a canvas of their own. */
import { fit, surface } from "../canvas";
import { attr, h } from "../dom";
import { sentence } from "../footer";
import { type HeatGeometry, heatGeometry, indexAt } from "../heatgeometry";
import { moved, pointing } from "../pointing";
import { signal } from "../signals";
import type { Pair } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { axisRoom, drawAxes } from "./axes";
import { drawCrosshair } from "./crosshair";
import { HeatImage } from "./heatimage";
import { makePanel, type Panel } from "./panel";

const LABEL = "Heatmap. Arrow keys move over the cells, with Shift by a tenth; Enter locks, Esc releases.";

export function heatmap(view: View): Panel {
  const { store, select, frames, source } = view;
  const panel = makePanel(view, "heatmap", "Queries × keys");
  const base = surface("heatmap", "base");
  const over = surface("heatmap-overlay", "over");
  const tip = h("div", { className: "tip", hidden: true, aria: { hidden: "true" } });
  const empty = h("p", { className: "empty" });
  const stage = h(
    "div",
    { className: "stage", tabIndex: 0, role: "application", aria: { label: LABEL } },
    base.canvas,
    over.canvas,
    tip,
  );
  panel.body.append(stage, empty);
  const image = new HeatImage();
  const geometry = signal<HeatGeometry | null>(null);
  const pointer = signal<readonly [number, number] | null>(null);

  panel.painting(() => {
    const shown = store.shown.value;
    const { queries, keys } = shown;
    const { tile, ramp } = view.picture.value;
    const dark = view.dark.value;
    const room = axisRoom(base.context, shown, panel.width.value, view.panelHeight.value);
    const g = heatGeometry(queries, keys, room, devicePixelRatio);
    geometry.value = g;
    fit(base, g.canvasWidth, g.canvasHeight);
    stage.style.width = base.canvas.style.width;
    attr(base.canvas, "data-origin", `${g.left},${g.top}`);
    attr(base.canvas, "data-cell", `${g.width / keys},${g.height / queries}`);
    const down = Math.ceil(queries / Math.min(g.rows, tile?.height ?? g.rows));
    const across = Math.ceil(keys / Math.min(g.columns, tile?.width ?? g.columns));
    view.pooling.value = down * across > 1 ? `max of up to ${down} × ${across}` : "";
    image.draw(base.context, g, tile, ramp, dark);
    drawAxes(base.context, g, shown, palette(dark));
    empty.hidden = tile !== null;
    stage.classList.toggle("waiting", !tile);
    const alone = source.link.value === "static" || source.link.value === "gone";
    empty.textContent = alone
      ? "This head is not stored here: it needs a running kernel."
      : source.problem.value
        ? "This head could not be loaded."
        : "Loading this head …";
  });

  panel.painting(() => {
    const g = geometry.value;
    if (!g) return;
    fit(over, g.canvasWidth, g.canvasHeight);
    const { shown, focus, locked } = store;
    drawCrosshair(over.context, g, shown.value, focus.value, locked.value, palette(view.dark.value));
  });

  // Painted, not set by the pointer: head, values and focus change under a pointer that rests.
  panel.painting(() => {
    tip.hidden = !pointer.value || store.hoverPair.value?.panel !== "heatmap";
    if (tip.hidden) return;
    const [x, y] = pointer.value!;
    const { who, value } = sentence(view);
    tip.textContent = [who, value].filter(Boolean).join("\n");
    const root = stage.closest(".root")!.getBoundingClientRect();
    const from = root.left + 8 - stage.getBoundingClientRect().left;
    const to = from + root.width - 16 - tip.offsetWidth;
    const left = x + 14 > to ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = `${Math.max(from, Math.min(left, to))}px`;
    tip.style.top = `${Math.max(0, y - 46)}px`;
  });

  pointing<Pair>(stage, frames, {
    /** The pair under the pointer; over an axis only its side. */
    at({ offsetX, offsetY }) {
      const g = geometry.value;
      if (!g) return null;
      const x = offsetX - g.left;
      const y = offsetY - g.top;
      const query = indexAt(y, g.height, store.shown.value.queries);
      const key = indexAt(x, g.width, store.shown.value.keys);
      const inside = query !== null ? key !== null || x < 0 : key !== null && y < 0;
      return inside ? { query, key } : null;
    },
    hover(pair, event) {
      select.hover(pair, "heatmap");
      pointer.value = event ? [event.offsetX, event.offsetY] : null;
    },
    lock: (pair) => select.lock(pair),
    arrow(down, right, fast) {
      const { queries, keys } = store.shown.value;
      const { query, key } = store.focus.value;
      pointer.value = null;
      select.hover(
        { query: moved(query, down, queries, fast), key: moved(key, right, keys, fast) },
        "heatmap",
      );
    },
    current: () => store.focus.value,
  });
  return panel;
}
