/** Two columns of tokens, one line per pair: opacity is the weight over the top of the range, hue is the head. */

import { headColour } from "../colour";
import { formatEnd, grouped } from "../format";
import { indexAt } from "../heatgeometry";
import { counted } from "../passing";
import { moved } from "../pointing";
import { scroller } from "../scroller";
import type { Pair } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { isWhole } from "../window";
import { drawColumn, inSight, type LinesGeometry, linesGeometry } from "./linecolumns";
import { pairButtons } from "./pairs";
import { makePanel, type Panel } from "./panel";
import { thresholdTools } from "./thresholdtools";
import { sided, tokenPointing } from "./tokenpointing";

const LABEL = "Lines from queries to keys. Arrows move over the tokens, Enter locks, Esc releases.";

const ROOM = 24;

export function lines(view: View): Panel {
  const { store, passing } = view;
  const panel = makePanel(view, "lines", "Query → key");
  const area = scroller("lines", LABEL, () => redraw());
  const beyond = pairButtons(view, 3);
  panel.body.before(thresholdTools(view, panel));
  panel.body.append(area.element, beyond.element);
  let geometry: LinesGeometry | null = null;
  let revealed: Pair = { query: null, key: null };

  const reveal = (g: LinesGeometry, key: boolean, index: number) => {
    const [from, to] = key ? g.keys : g.queries;
    if (index >= from && index < to) area.reveal(0, g.pad + (index - from) * g.pitch, 0, g.pitch, 0, 0);
  };

  // Nobody follows thousands of lines in a sweep over the heads.
  const sweeping = () => store.hoverHead.peek() !== null;

  const redraw = panel.painting(() => {
    const { rows, columns } = store.shown.value;
    const window = store.visible.value;
    const dark = view.dark.value;
    const most = view.panelHeight.value;
    let g = linesGeometry(window, panel.width.value, most);
    const scrolls = g.total > most || !isWhole(window, store.shown.value);
    if (scrolls) g = linesGeometry(window, panel.width.value, most - ROOM);
    const { width, height } = area.fit(
      panel.width.value,
      g.total,
      panel.width.value,
      scrolls ? most - ROOM : most,
    );
    beyond.element.hidden = !scrolls;
    g.right = width - g.left;
    // Where the window has moved, the tokens that were on top stay there.
    if (geometry && geometry.queries[0] !== g.queries[0])
      area.down((geometry.queries[0] + area.y / geometry.pitch - g.queries[0]) * g.pitch);
    geometry = g;
    const focus = store.focus.value;
    const { query, key } = focus;
    // Another panel's focus is brought into sight; one's own is already under the pointer.
    if (focus !== revealed && store.hoverPair.peek()?.panel !== "lines") {
      if (query !== null && query !== revealed.query) reveal(g, false, query);
      else if (key !== null) reveal(g, true, key);
    }
    revealed = focus;
    const { context, y: away } = area;
    const yQuery = (i: number) => g.pad + (i - g.queries[0] + 0.5) * g.pitch - away;
    const yKey = (i: number) => g.pad + (i - g.keys[0] + 0.5) * g.pitch - away;
    const within = (q: number, k: number) =>
      q >= g.queries[0] && q < g.queries[1] && k >= g.keys[0] && k < g.keys[1];
    // Of hundreds of tokens the raw weights are too faint to see; the range is the one the legend prints.
    const top = view.picture.value.ramp.range[1];
    const [start, end] = [g.left + 3, g.right - 3];
    const bend = (end - start) * 0.45;
    const stroke = (q: number, k: number, weight: number, strong = false) => {
      if (!within(q, k)) return;
      const [a, b] = [yQuery(q), yKey(k)];
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
    if (gaze) {
      const { index, other, side } = gaze;
      const head = store.shownHead.value;
      const waits = passing.waits(head, gaze);
      const order = passing.along(head, gaze);
      for (const i of order.toReversed()) {
        const [q, k] = side === "query" ? [index, i] : [i, index];
        stroke(q, k, gaze.values[i]!, i === other);
      }
      const from = side === "query" ? g.queries : g.keys;
      panel.note.textContent =
        index < from[0] || index >= from[1]
          ? `${side} ${index} is outside of the window`
          : `lines of ${side} ${index} ${waits || passing.words.value}`;
      const [first, end] = inSight(g, side === "query" ? g.keys : g.queries, away, height);
      const hidden = gaze.exact ? order.filter((i) => i < first || i >= end) : [];
      beyond.show(
        waits ? null : gaze,
        hidden,
        hidden.length ? `${grouped(hidden.length)} more out of sight:` : "",
      );
    } else {
      const all = passing.edges.value;
      all?.weights.forEach((weight, i) => {
        stroke(all.queries[i]!, all.keys[i]!, weight);
      });
      panel.note.textContent = all
        ? counted(view, all, "line")
        : view.picture.value.tile
          ? "choose a token to see its lines"
          : `lines ${passing.later.value}`;
      beyond.show(null, [], "");
    }
    context.globalAlpha = 1;
    panel.note.textContent += `, opaque at ${formatEnd(top, store.unit.value)}`;
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

  const at = ({ offsetX: x, offsetY }: MouseEvent) => {
    if (!geometry) return null;
    const onKey = x >= geometry.right;
    if (!onKey && x > geometry.left) return null;
    const [from, to] = onKey ? geometry.keys : geometry.queries;
    const n = to - from;
    const index = indexAt(offsetY + area.y - geometry.pad, n * geometry.pitch, n);
    return index === null ? null : sided(onKey, from + index);
  };
  tokenPointing(view, "lines", area.element, at, (down, right, fast) => {
    const { query, key } = store.focus.value;
    const { queries, keys } = store.shown.value;
    const toKey = right ? right > 0 : query === null && key !== null;
    const next = moved(query ?? key, down, toKey ? keys : queries, fast);
    if (geometry) reveal(geometry, toKey, next);
    return sided(toKey, next);
  });
  return panel;
}
