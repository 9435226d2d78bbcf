/** Tokens along a line, an arc from each query to the keys it looks at: thickness and opacity are the weight, hue is the head. */

import { chip, textWidth } from "../canvas";
import { headColour } from "../colour";
import { formatEnd } from "../format";
import { counted } from "../passing";
import { moved, pointing } from "../pointing";
import { CODE_MASKED } from "../protocol";
import { scroller } from "../scroller";
import { computed } from "../signals";
import type { Pair } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import { arcOf, drawArc } from "./arcs";
import { directionButton } from "./direction";
import { placesOf, reading, tokenRow } from "./graphrow";
import { drawTokens, READING, UPRIGHT } from "./graphtokens";
import { makePanel, type Panel } from "./panel";
import { thresholdTools } from "./thresholdtools";

const LABEL = "Arcs from queries to keys. Arrows move over the tokens, Enter locks, Esc releases.";
const HIGH_LEAST = 70;
const HIGH_MOST = 190;

export function graph(view: View): Panel {
  const { store, passing, select, frames } = view;
  const panel = makePanel(view, "graph", "Graph");
  const area = scroller("graph", LABEL, () => redraw());
  const { context } = area;
  const tools = thresholdTools(view, panel);
  tools.append(directionButton(view, panel));
  panel.body.before(tools);
  panel.body.append(area.element);
  let revealed: Pair = { query: null, key: null };

  /** The row of the queries and that of the keys; one and the same where a text looks at itself. */
  const laid = computed(() => {
    const { rows, columns } = store.shown.value;
    const { queries, keys } = store.visible.value;
    const width = panel.width.value;
    const one = rows === columns;
    const sides = [
      { labels: rows.labels, ranges: one ? [queries, keys] : [queries] },
      { labels: columns.labels, ranges: [keys] },
    ].slice(one ? 1 : 0, 2);
    if (one) sides[0]!.ranges = [queries, keys];
    const places = sides.map(({ labels, ranges }) => placesOf(ranges, labels.length));
    const measure = (text: string) => textWidth(context, text);
    const widths = sides.map(({ labels }, i) => reading(labels, places[i]!, width, measure));
    const upright = widths.includes(null);
    const made = sides.map(({ labels }, i) =>
      tokenRow(labels, places[i]!, upright ? null : widths[i]!, width),
    );
    return { one, upright, queries: made[0]!, keys: made.at(-1)! };
  });
  /** Whether a query looks at a token after it; else the room under the tokens is left away. */
  const ahead = computed(() => {
    const edges = passing.edges.value;
    if (edges) return edges.keys.some((key, i) => key > edges.queries[i]!);
    const tile = view.picture.value.tile;
    return tile?.codes[tile.width - 1] !== CODE_MASKED;
  });
  const space = computed(() => {
    const { one, upright, queries, keys } = laid.value;
    const row = upright ? UPRIGHT : READING;
    const sides = one && ahead.value ? 2 : 1;
    const room = (view.panelHeight.value - row * (one ? 1 : 2)) / sides;
    const high = Math.round(Math.max(HIGH_LEAST, Math.min(HIGH_MOST, room)));
    const total = Math.max(queries.starts.at(-1)!, keys.starts.at(-1)!);
    const [over, under] = one ? [high, high + row] : [row, row + high];
    const height = one ? high * sides + row : high + 2 * row;
    const far = Math.min(total, panel.width.value);
    return { one, over, under, high: high - 8, far, total, height };
  });

  const reveal = (key: boolean, index: number) => {
    const row = key ? laid.value.keys : laid.value.queries;
    const x = row.middle(index);
    if (!Number.isNaN(x)) area.reveal(x - 40, 0, 80, 0, 0, 0);
  };
  const sweeping = () => store.hoverHead.peek() !== null;

  const redraw = panel.painting(() => {
    const dark = view.dark.value;
    const colours = palette(dark);
    const { one, upright, queries, keys } = laid.value;
    const { total, height, ...s } = space.value;
    const { width } = area.fit(total, height, panel.width.value, height + 12);
    const [focus, locked] = [store.focus.value, store.locked.value];
    const { query, key } = focus;
    // Another panel's focus is brought into sight; one's own is already under the pointer.
    if (focus !== revealed && store.hoverPair.peek()?.panel !== "graph") {
      if (key !== null && key !== revealed.key) reveal(true, key);
      if (query !== null && query !== revealed.query) reveal(false, query);
    }
    revealed = focus;
    const away = area.x;
    const top = view.picture.value.ramp.range[1];
    const ink = headColour(store.shownHead.value.head, dark);
    context.strokeStyle = context.fillStyle = ink;
    const draw = (q: number, k: number, weight: number, strong = false) => {
      const [from, to] = [queries.middle(q) - away, keys.middle(k) - away];
      if (!(Math.max(from, to) > -20 && Math.min(from, to) < width + 20)) return;
      drawArc(context, arcOf(from, to, s), Math.min(1, weight / top), strong);
    };
    const gaze = view.gaze.value;
    let note = "";
    if (gaze) {
      const { index, side, other, values } = gaze;
      const from = side === "query" ? queries : keys;
      for (const i of (passing.along(gaze) ?? []).toReversed())
        if (side === "query") draw(index, i, values[i]!, i === other);
        else draw(i, index, values[i]!, i === other);
      note = Number.isNaN(from.middle(index))
        ? `${side} ${index} is outside of the window`
        : `arcs of ${side} ${index} ${passing.waits(gaze) || passing.words.value}`;
    } else {
      const all = passing.edges.value;
      all?.weights.forEach((weight, i) => {
        draw(all.queries[i]!, all.keys[i]!, weight);
      });
      if (all) note = counted(view, all, "arc");
      else if (view.picture.value.tile) note = "choose a token to see its arcs";
    }
    context.globalAlpha = 1;
    panel.note.textContent = note && `${note}, in the head's hue, thickest and opaque at ${formatEnd(top)}`;

    const ends = ({ query, key }: Pair, side: "query" | "key") =>
      one ? [query, key] : [side === "query" ? query : key];
    const paint = (side: "query" | "key", y: number) =>
      drawTokens(context, side === "query" ? queries : keys, [y, away, width], {
        ...{ colours, ink, top, upright },
        shade: gaze && (one || gaze.side !== side) ? gaze.values : null,
        focus: ends(focus, side),
        locked: ends(locked, side),
      });
    paint("key", one ? s.over : 0);
    if (!one) paint("query", s.under);
    const words = one ? ["looks back", "looks ahead"] : ["keys", "queries"];
    const sign = (text: string, y: number) => chip(context, text, 0, y, "left", colours.page, colours.muted);
    sign(words[0]!, one ? 8 : s.over + 9);
    if (!one || ahead.value) sign(words[1]!, one ? height - 9 : s.under - 9);
  }, sweeping);

  /** The token as the side it is read as. */
  const sided = (key: boolean, index: number): Pair =>
    key ? { query: null, key: index } : { query: index, key: null };
  const readsKey = () => store.direction.value === "to";
  pointing<Pair>(area.element, frames, {
    at({ offsetX, offsetY }) {
      const { one, queries, keys } = laid.value;
      const { over, under, height } = space.value;
      const y = offsetY + area.y;
      const onKeys = one ? y >= over && y < under : y < over;
      if (!onKeys && (one || y < under || y >= height)) return null;
      const row = onKeys ? keys : queries;
      const index = row.indices[row.place(offsetX + area.x)] ?? -1;
      return index < 0 ? null : sided(one ? readsKey() : onKeys, index);
    },
    hover(pair) {
      select.hover(pair, "graph");
      area.element.title = pair ? view.name(pair) : "";
      area.element.style.cursor = pair ? "pointer" : "";
    },
    lock: (pair) => select.lock(pair),
    arrow(down, right, fast) {
      const { query, key } = store.focus.value;
      const { queries, keys } = store.shown.value;
      const { one } = laid.value;
      const toKey = one ? readsKey() : down ? down < 0 : query === null;
      const next = sided(toKey, moved(query ?? key, right, toKey ? keys : queries, fast));
      select.hover(next, "graph");
      select.reveal(next);
      reveal(toKey, (next.query ?? next.key)!);
    },
    current() {
      const { query, key } = store.focus.value;
      return query !== null ? sided(false, query) : key !== null ? sided(true, key) : null;
    },
  });
  return panel;
}
