/** One head, or a window of it: queries down, keys across, crosshair and lock on a canvas of their own. */
import { fit, surface } from "../canvas";
import { attr, h } from "../dom";
import { sentence } from "../footer";
import { type HeatGeometry, heatGeometry, tileExtent, tokenAt } from "../heatgeometry";
import { pixelWords, rangeWords } from "../heatwords";
import { kit } from "../kit";
import { moved, pointing } from "../pointing";
import type { Range } from "../protocol";
import { answers } from "../rpc";
import { computed, signal } from "../signals";
import type { Pair } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { axisRoom, drawAxes } from "./axes";
import { drawCrosshair } from "./crosshair";
import { dragging } from "./dragging";
import { HeatImage } from "./heatimage";
import { Lens } from "./lens";
import type { Minimap } from "./minimap";
import { makePanel, type Panel } from "./panel";
import { pinching } from "./pinching";
import { wheeling, zoomButtons } from "./zooming";

const LABEL =
  "Heatmap. Arrow keys move over the cells, with Shift by a tenth; Enter locks, Esc releases; + and - zoom, 0 shows all.";

export function heatmap(view: View, title = "Queries × keys"): Panel {
  const { store, select, frames, source } = view;
  const panel = makePanel(view, "heatmap", title);
  const base = surface("heatmap", "base");
  const over = surface("heatmap-overlay", "over");
  const tip = h("div", { className: "tip", hidden: true, aria: { hidden: "true" } });
  const empty = h("p", { className: "empty" });
  const stage = h(
    "div",
    { className: "stage", tabIndex: 0, role: "application", aria: { label: `${title}. ${LABEL}` } },
    base.canvas,
    over.canvas,
    tip,
  );
  panel.body.append(stage, empty);
  const image = new HeatImage();
  const pointer = signal<readonly [number, number] | null>(null);

  const room = computed(() =>
    axisRoom(base.context, store.shown.value, panel.width.value, view.panelHeight.value),
  );
  const geometry = computed<HeatGeometry | null>(() =>
    panel.width.value > 0 && view.ratio.value > 0
      ? heatGeometry(store.shown.value, room.value, devicePixelRatio || 1, store.visible.value)
      : null,
  );
  /** Where there are any, the kit that asked for them is here as well. */
  const marginals = computed(() => source.marginals(store.shownHead.value, store.visible.value));

  const lens = new Lens(select, geometry);
  dragging(stage, lens);
  pinching(stage, lens);
  const engaged = wheeling(stage, lens);
  let overview: Minimap | null = null;
  const buttons = zoomButtons(lens);
  panel.note.after(buttons.element);
  panel.onDispose(buttons.stop);

  panel.painting(() => {
    const g = geometry.value!;
    const shown = store.shown.value;
    view.extent.value = tileExtent(g);
    const tiles = view.sight.value.placed;
    const { ramp, tile } = view.picture.value;
    const dark = view.dark.value;
    fit(base, g.canvasWidth, g.canvasHeight);
    stage.style.width = base.canvas.style.width;
    attr(base.canvas, "data-origin", `${g.left},${g.top}`);
    attr(base.canvas, "data-cell", `${g.cellX},${g.cellY}`);
    view.pooling.value = pixelWords(g, view.sight.value, view.progress.value);
    image.draw(base.context, g, tiles, ramp, dark);
    drawAxes(base.context, g, shown, palette(dark));
    if (marginals.value) kit.value!.drawStrips(base.context, g, marginals.value, shown, palette(dark));
    if (!overview && kit.value) {
      overview = kit.value.minimap(view, lens);
      stage.append(overview.element);
    }
    overview?.draw(g, image, panel.width.value);
    panel.note.textContent = [
      store.shownHead.value.aggregate ? view.headWords.value : "",
      rangeWords(g.visible, shown),
      engaged.value ? "wheel zooms, Esc releases" : "",
    ]
      .filter(Boolean)
      .join(" · ");
    empty.hidden = tile !== null;
    stage.classList.toggle("waiting", !tile);
    empty.textContent = !answers(source)
      ? `${store.shownHead.value.aggregate || store.shown.value.stack.measure?.whole ? view.headWords.value : "This head"} is not stored here: it needs a running kernel.`
      : source.problem.value
        ? "This head could not be loaded."
        : "Loading this head …";
  });

  panel.painting(() => {
    const g = geometry.value!;
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
    tip.textContent = [who, value, stripText(x, y)].filter(Boolean).join("\n");
    const root = stage.closest(".root")!.getBoundingClientRect();
    const from = root.left + 8 - stage.getBoundingClientRect().left;
    const to = from + root.width - 16 - tip.offsetWidth;
    const left = x + 14 > to ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = `${Math.max(from, Math.min(left, to))}px`;
    tip.style.top = `${Math.max(0, y - tip.offsetHeight - 8)}px`;
  });
  const stripText = (x: number, y: number): string => {
    const side = marginals.value && kit.value!.stripAt(geometry.value!, x, y);
    const { query, key } = store.focus.value;
    const token = side === "keys" ? key : query;
    if (side === "queries" && store.shownHead.value.aggregate?.reduce === "max")
      return "a row of maxima is no distribution, and has no entropy";
    return side && token !== null
      ? kit.value!.stripWords(marginals.value!, side, token, store.shown.value, store.reading.value)
      : "";
  };

  pointing<Pair>(stage, frames, {
    /** The pair under the pointer; over an axis or a strip only its side. */
    at({ offsetX, offsetY }) {
      const g = geometry.value;
      if (!g) return null;
      const query = tokenAt(g, "queries", offsetY);
      const key = tokenAt(g, "keys", offsetX);
      const strip = marginals.value ? kit.value!.stripAt(g, offsetX, offsetY) : null;
      const inside =
        query !== null
          ? key !== null || offsetX < g.left || strip
          : key !== null && (offsetY < g.top || strip);
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
      const visible = store.visible.value;
      // By a tenth of what is in sight; from its first token where nothing is focused.
      const step = (from: number | null, by: number, n: number, [start, stop]: Range) =>
        from === null ? Math.ceil(start) : moved(from, by * (fast ? Math.ceil((stop - start) / 10) : 1), n);
      const next = {
        query: step(query, down, queries, visible.queries),
        key: step(key, right, keys, visible.keys),
      };
      pointer.value = null;
      select.hover(next, "heatmap");
      select.reveal(next);
    },
    current: () => store.focus.value,
  });
  return panel;
}
