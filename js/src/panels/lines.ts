/** Two columns of tokens, one line per pair: opacity is the weight over the top of the range, hue is the head. */

import type { HeadRef } from "../datasource";
import { count, formatShare, grouped } from "../format";
import { indexAt } from "../heatgeometry";
import { counted, MOST_EDGES } from "../passing";
import { moved } from "../pointing";
import { rampOf } from "../ramp";
import { scroller } from "../scroller";
import { computed } from "../signals";
import { type Pair, sameHead } from "../state";
import { headInk, palette } from "../theme";
import { type Gaze, gazeOf, type View } from "../view";
import { isWhole } from "../window";
import { headToggles } from "./headtoggles";
import { drawColumn, inSight, type LinesGeometry, linesGeometry } from "./linecolumns";
import { pairButtons } from "./pairs";
import { makePanel, type Panel } from "./panel";
import { thresholdTools } from "./thresholdtools";
import { sided, tokenPointing } from "./tokenpointing";

const LABEL = "Lines from queries to keys. Arrows move over the tokens, Enter locks, Esc releases.";

const ROOM = 24;

/** A line of the focused token: its head's place among those drawn, the token at the other end, the weight. */
interface Line {
  head: number;
  other: number;
  weight: number;
}

export function lines(view: View): Panel {
  const { store, source, passing } = view;
  const panel = makePanel(view, "lines", "Query → key");
  const area = scroller("lines", LABEL, () => redraw());
  const beyond = pairButtons(view, 3);
  const tools = thresholdTools(view, panel);
  tools.prepend(...headToggles(view, panel));
  panel.body.before(tools);
  panel.body.append(area.element, beyond.element);
  let geometry: LinesGeometry | null = null;
  let revealed: Pair = { query: null, key: null };

  const pictureOf = (ref: HeadRef) => source.detail(ref) ?? source.thumbnail(ref);
  /** What the focused token looks at, or what looks at it, in each head drawn; null where that is not known pair by pair. */
  const gazes = computed<readonly (Gaze | null)[]>(() =>
    store.drawnHeads.value.map((ref) => {
      const shown = sameHead(ref, store.shownHead.value);
      const gaze = shown ? view.gaze.value : gazeOf(store, source, ref);
      return gaze && !passing.waits(ref, gaze) ? gaze : null;
    }),
  );
  /** The lines of the focused token that pass the threshold, strongest first. */
  const focused = computed<readonly Line[]>(() => {
    const lines = gazes.value.flatMap((gaze, head) =>
      gaze
        ? passing
            .along(store.drawnHeads.value[head]!, gaze)
            .map((other) => ({ head, other, weight: gaze.values[other]! }))
        : [],
    );
    return gazes.value.length > 1 ? lines.sort((a, b) => b.weight - a.weight).slice(0, MOST_EDGES) : lines;
  });
  /**
   * The weight that is opaque. Of hundreds of tokens the raw weights are too faint to see: it is the top of the range that
   * the legend prints, or of the widest range of the heads that are drawn together.
   */
  const opaque = computed(() => {
    const heads = store.drawnHeads.value;
    const { range } = view.picture.value.ramp;
    if (heads.length === 1 || store.range.value) return range[1];
    const tops = heads.map(pictureOf).map((tile) => (tile ? rampOf(store, tile, false).range[1] : 0));
    return Math.max(...tops) || range[1];
  });

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
    // Where the window or the distance of the tokens has changed, the tokens that were on top stay there.
    if (geometry && (geometry.queries[0] !== g.queries[0] || geometry.pitch !== g.pitch))
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
    const top = opaque.value;
    const { of: read } = store.reading.value;
    const [start, end] = [g.left + 3, g.right - 3];
    const bend = (end - start) * 0.45;
    const drawn = store.drawnHeads.value;
    const inks = drawn.map((ref) => headInk(ref, dark));
    const stroke = (head: number, q: number, k: number, weight: number, strong = false) => {
      // Fainter than one step of a screen's colours.
      const strength = read(weight) / read(top);
      if (!within(q, k) || strength < 1 / 512) return;
      const [a, b] = [yQuery(q), yKey(k)];
      if ((a < 0 && b < 0) || (a > height && b > height)) return;
      context.strokeStyle = inks[head]!;
      context.globalAlpha = Math.min(1, strength);
      context.lineWidth = strong ? 2.5 : 1.4;
      context.beginPath();
      context.moveTo(start, a);
      context.bezierCurveTo(start + bend, a, end - bend, b, end, b);
      context.stroke();
    };
    const gaze = gazes.value.find((each) => each !== null) ?? view.gaze.value;
    const { aggregate } = store.shownHead.value;
    const of = aggregate
      ? ` of the ${view.headWords.value}`
      : drawn.length > 1
        ? ` of ${count(drawn.length, "head")}`
        : "";
    if (gaze) {
      const { index, other, side } = gaze;
      for (const line of focused.value.toReversed()) {
        const [q, k] = side === "query" ? [index, line.other] : [line.other, index];
        stroke(line.head, q, k, line.weight, line.other === other);
      }
      const from = side === "query" ? g.queries : g.keys;
      const here = gazes.value.filter((each) => each !== null).length;
      panel.note.textContent =
        index < from[0] || index >= from[1]
          ? `${side} ${index} is outside of the window`
          : here
            ? `lines of ${side} ${index}${passing.words.value}${here < drawn.length ? ` of ${here} of ${drawn.length} heads` : of}`
            : `lines of ${side} ${index} ${passing.waits(store.shownHead.value, gaze)}`;
      // The buttons are about the head that the other panels show.
      const main = drawn.findIndex((ref) => sameHead(ref, store.shownHead.value));
      const known = gazes.value[main] ?? null;
      const [first, end] = inSight(g, side === "query" ? g.keys : g.queries, away, height);
      const hidden = known?.exact
        ? focused.value.filter((line) => line.head === main && (line.other < first || line.other >= end))
        : [];
      const whose = drawn.length > 1 ? ` of head ${store.shownHead.value.head}` : "";
      beyond.show(
        known,
        hidden.map((line) => line.other),
        hidden.length ? `${grouped(hidden.length)} more${whose} out of sight:` : "",
      );
    } else {
      const all = passing.edges.value;
      all?.weights.forEach((weight, i) => {
        stroke(all.heads[i]!, all.queries[i]!, all.keys[i]!, weight);
      });
      panel.note.textContent = all
        ? counted(view, all, "line", of)
        : view.picture.value.tile
          ? "choose a token to see its lines"
          : `lines${of} ${passing.later.value}`;
      beyond.show(null, [], "");
    }
    context.globalAlpha = 1;
    panel.note.textContent += `, opaque at ${formatShare(top, store.reading.value)}`;
    const locked = store.locked.value;
    const common = { context, g, colours: palette(dark), away, top, height };
    // Pooled cells are no lines, but a shade may stand for all of their tokens.
    const shade = (side: string) =>
      gaze && gaze.side !== side
        ? inks.map((ink, i) => ({
            ink,
            values: (gazes.value[i] ?? (drawn.length > 1 ? null : view.gaze.value))?.values ?? null,
          }))
        : [];
    const left = {
      left: true,
      labels: rows.labels,
      stripes: shade("query"),
      focus: query,
      locked: locked.query,
    };
    const right = {
      left: false,
      labels: columns.labels,
      stripes: shade("key"),
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
