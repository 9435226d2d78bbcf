/** Two columns of tokens, one line per pair: opacity is the weight over the top of the range, hue is the head. */

import { headColour } from "../colour";
import { type Edges, strongestEdges } from "../edges";
import { formatEnd } from "../format";
import { indexAt } from "../heatgeometry";
import { moved, pointing } from "../pointing";
import { scroller } from "../scroller";
import type { Pair } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { drawColumn, type LinesGeometry, linesGeometry } from "./linecolumns";
import { makePanel, type Panel } from "./panel";

export const MAX_LINES = 2000;

const LABEL = "Lines from queries to keys. Arrows move over the tokens, Enter locks, Esc releases.";

export function lines(view: View): Panel {
  const { store, select, frames } = view;
  const panel = makePanel(view, "lines", "Query → key");
  const area = scroller("lines", LABEL, () => redraw());
  panel.body.append(area.element);
  let geometry: LinesGeometry | null = null;
  let edges: Edges | null = null;
  let edgesOf: unknown[] = [];
  let revealed: number | null = null;

  /** The lines of the whole head, found again only when head or threshold change. */
  const allEdges = (): Edges | null => {
    const { tile } = view.picture.value;
    const { queries, keys } = store.shown.value;
    // Pooled cells stand for many pairs: a line between two tokens would claim what is not known.
    if (!tile || tile.height < queries || tile.width < keys) return null;
    const of = [tile, store.cut.value];
    if (of.some((part, i) => part !== edgesOf[i])) {
      edges = strongestEdges(tile, store.cut.value, MAX_LINES);
      edgesOf = of;
    }
    return edges;
  };

  const reveal = (index: number) => {
    if (geometry) area.reveal(0, geometry.pad + index * geometry.pitch, 0, geometry.pitch, 0, 0);
  };

  // Nobody follows thousands of lines in a sweep over the heads.
  const sweeping = () => store.hoverHead.peek() !== null;

  const redraw = panel.painting(() => {
    const { rows, columns, queries, keys } = store.shown.value;
    const dark = view.dark.value;
    const g = linesGeometry(queries, keys, panel.width.value, view.panelHeight.value);
    geometry = g;
    const { width, height } = area.fit(panel.width.value, g.total, panel.width.value, view.panelHeight.value);
    g.right = width - g.left;
    const { query, key } = store.focus.value;
    const index = query ?? key;
    // Another panel's focus is brought into sight; one's own is already under the pointer.
    if (index !== revealed && index !== null && store.hoverPair.peek()?.panel !== "lines") reveal(index);
    revealed = index;
    const { context, y: away } = area;
    const y = (i: number) => g.pad + (i + 0.5) * g.pitch - away;
    // Of hundreds of tokens the raw weights are too faint to see; the range is the one the legend prints.
    const top = view.picture.value.ramp.range[1];
    const [start, end] = [g.left + 3, g.right - 3];
    const bend = (end - start) * 0.45;
    const stroke = (q: number, k: number, weight: number, strong = false) => {
      const [a, b] = [y(q), y(k)];
      if ((a < 0 && b < 0) || (a > height && b > height)) return;
      context.globalAlpha = Math.min(1, weight / top);
      context.lineWidth = strong ? 2.5 : 1.4;
      context.beginPath();
      context.moveTo(start, a);
      context.bezierCurveTo(start + bend, a, end - bend, b, end, b);
      context.stroke();
    };
    const ink = headColour(store.shownHead.value.head, dark);
    context.strokeStyle = ink;
    const gaze = view.gaze.value;
    const cut = store.cut.value;
    if (gaze) {
      const { index, other, values } = gaze;
      const fromQuery = gaze.side === "query";
      values.forEach((weight, i) => {
        if (weight > 0 && weight >= cut)
          stroke(fromQuery ? index : i, fromQuery ? i : index, weight, i === other);
      });
      panel.note.textContent = `lines ≥ ${formatEnd(cut)} of ${gaze.side} ${index}`;
    } else {
      const all = allEdges();
      all?.weights.forEach((weight, i) => {
        stroke(all.queries[i]!, all.keys[i]!, weight);
      });
      panel.note.textContent = all
        ? describe(all, cut)
        : view.picture.value.tile
          ? "choose a token to see its lines"
          : "";
    }
    context.globalAlpha = 1;
    if (panel.note.textContent) panel.note.textContent += `, opaque at ${formatEnd(top)}`;
    const locked = store.locked.value;
    const common = { context, g, colours: palette(dark), ink, away, top, height };
    const shade = (side: string) => (gaze && gaze.side !== side ? gaze.values : null);
    const left = {
      left: true,
      labels: rows.labels,
      shade: shade("query"),
      focus: query,
      locked: locked.query,
    };
    const right = {
      left: false,
      labels: columns.labels,
      shade: shade("key"),
      focus: key,
      locked: locked.key,
    };
    drawColumn({ ...common, ...left });
    drawColumn({ ...common, ...right });
  }, sweeping);

  const side = (key: boolean, index: number): Pair =>
    key ? { query: null, key: index } : { query: index, key: null };
  pointing<Pair>(area.element, frames, {
    at({ offsetX: x, offsetY }) {
      if (!geometry) return null;
      const onKey = x >= geometry.right;
      if (!onKey && x > geometry.left) return null;
      const n = onKey ? store.shown.value.keys : store.shown.value.queries;
      const index = indexAt(offsetY + area.y - geometry.pad, n * geometry.pitch, n);
      return index === null ? null : side(onKey, index);
    },
    hover(pair) {
      select.hover(pair, "lines");
      area.element.title = pair ? view.name(pair) : "";
      area.element.style.cursor = pair ? "pointer" : "";
    },
    lock: (pair) => select.lock(pair),
    arrow(down, right, fast) {
      const { query, key } = store.focus.value;
      const { queries, keys } = store.shown.value;
      const toKey = right ? right > 0 : query === null && key !== null;
      const next = moved(query ?? key, down, toKey ? keys : queries, fast);
      select.hover(side(toKey, next), "lines");
      reveal(next);
    },
    current() {
      const { query, key } = store.focus.value;
      return query !== null ? side(false, query) : key !== null ? side(true, key) : null;
    },
  });
  return panel;
}

function describe({ total, weights }: Edges, cut: number): string {
  const n = total.toLocaleString("en");
  const strongest = total > weights.length ? `strongest ${weights.length.toLocaleString("en")} of ` : "";
  return `${strongest}${n} ${total === 1 ? "line" : "lines"} ≥ ${formatEnd(cut)}`;
}
