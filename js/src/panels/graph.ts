/** Tokens along a line, an arc from each query to the keys it looks at: thickness and opacity are the weight, the ink is its head's. */

import { textWidth } from "../canvas";
import { positions } from "../colour";
import { counted } from "../passing";
import { moved } from "../pointing";
import { CODE_MASKED, type Range } from "../protocol";
import { scroller } from "../scroller";
import { computed } from "../signals";
import type { Pair, Words } from "../state";
import { headInk, palette } from "../theme";
import type { View } from "../view";
import { arcOf, drawArc } from "./arcs";
import { directionButton } from "./direction";
import { type TokenRow, tokenRow } from "./graphrow";
import { drawTokens } from "./graphtokens";
import { makePanel, type Panel } from "./panel";
import { thresholdTools } from "./thresholdtools";
import { sided, tokenPointing } from "./tokenpointing";

const LABEL = "Arcs from queries to keys. Arrows move over the tokens, Enter locks, Esc releases.";
const HIGH_LEAST = 70;
const HIGH_MOST = 160;

export function graph(view: View): Panel {
  const { store, source, passing } = view;
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
    const row = ({ labels }: Words, ...ranges: Range[]) =>
      tokenRow(labels, ranges, panel.width.value, (text) => textWidth(context, text));
    if (rows !== columns) return { one: false, queries: row(rows, queries), keys: row(columns, keys) };
    const both = row(rows, queries, keys);
    return { one: true, queries: both, keys: both };
  });
  /** Whether a query looks at a token after it; else the room under the tokens is left away. */
  const ahead = computed(() => {
    const edges = passing.edges.value;
    if (edges) return edges.keys.some((key, i) => key > edges.queries[i]!);
    const tile = view.picture.value.tile;
    return tile?.codes[tile.width - 1] !== CODE_MASKED;
  });
  const space = computed(() => {
    const { one, queries, keys } = laid.value;
    const sides = one && ahead.value ? 2 : 1;
    const words = one ? keys.high : keys.high + queries.high;
    const high = Math.max(HIGH_LEAST, Math.min(HIGH_MOST, (view.panelHeight.value - words) / sides)) | 0;
    const over = one ? high : keys.high;
    const total = Math.max(queries.starts.at(-1)!, keys.starts.at(-1)!);
    // The longest arc uses the room there is; one that leads out of sight is as high.
    let far = panel.width.value;
    const edges = passing.edges.value;
    if (edges?.total)
      far = Math.min(
        far,
        edges.keys.reduce(
          (most, key, i) => Math.max(most, Math.abs(keys.middle(key) - keys.middle(edges.queries[i]!))),
          1,
        ),
      );
    return {
      ...{ one, over, total, far, high: high - 8 },
      under: over + (one ? keys.high : high),
      height: high * sides + words,
    };
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
    const { one, queries, keys } = laid.value;
    const { total, height, ...s } = space.value;
    const { width } = area.fit(total, height, panel.width.value, height + 12);
    const focus = store.focus.value;
    const { query, key } = focus;
    // Another panel's focus is brought into sight; one's own is already under the pointer.
    if (focus !== revealed && store.hoverPair.peek()?.panel !== "graph") {
      if (key !== null && key !== revealed.key) reveal(true, key);
      if (query !== null && query !== revealed.query) reveal(false, query);
    }
    revealed = focus;
    const away = area.x;
    const { ramp } = view.picture.value;
    const place = positions(ramp);
    // Arcs of signed numbers are those above 0, the middle of the ramp.
    const strength = ramp.reading ? (weight: number) => Math.max(0, 2 * place(weight) - 1) : place;
    const refs = passing.heads.value;
    const inks = refs.map((ref) => headInk(ref, dark));
    // Under the arcs, which may need the room.
    context.fillStyle = colours.muted;
    context.textAlign = "left";
    const words = one ? ["looks back", "looks ahead"] : ["keys", "queries"];
    context.fillText(words[0]!, 4, one ? 8 : s.over + 12);
    if (!one || ahead.value) context.fillText(words[1]!, 4, one ? height - 8 : s.under - 12);
    // One row has the tokens of both ranges, but a query of the one is no key of the other.
    const shows = ([a, b]: Range, index: number) => index >= Math.floor(a) && index < b;
    const window = store.visible.value;
    const draw = (of: number, head: number, q: number, k: number, weight: number, strong = false) => {
      if (!shows(window.queries, q) || !shows(window.keys, k)) return;
      const [from, to] = [queries.middle(q) - away, keys.middle(k) - away];
      if (!(Math.max(from, to) > -20 && Math.min(from, to) < width + 20)) return;
      context.strokeStyle = context.fillStyle = inks[head]!;
      // Many thick ones would be one patch of colour.
      const thick = Math.max(1, Math.min(3.5, 200 / of)) + (strong ? 1 : 0);
      drawArc(context, arcOf(from, to, s), strength(weight), thick);
    };
    const gaze = view.gaze.value;
    let note = view.picture.value.tile ? "choose a token to see its arcs" : `arcs ${passing.later.value}`;
    if (gaze) {
      const { index, side, other } = gaze;
      refs.forEach((ref, head) => {
        const read = () => (side === "query" ? source.row(ref, index) : source.column(ref, index));
        const found = ref === store.shownHead.value ? gaze : read();
        const line = found && { ...found, side, index };
        const order = line ? passing.along(ref, line) : [];
        for (const i of order.toReversed()) {
          const [q, k] = side === "query" ? [index, i] : [i, index];
          draw(order.length, head, q, k, line!.values[i]!, i === other);
        }
      });
      const waits = passing.waits(refs[0]!, gaze);
      note = shows(side === "query" ? window.queries : window.keys, index)
        ? `arcs of ${side} ${index}${waits ? ` ${waits}` : passing.words.value}`
        : `${side} ${index} is outside of the window`;
    } else {
      const all = passing.edges.value;
      all?.weights.forEach((weight, i) => {
        draw(all.weights.length, all.heads[i]!, all.queries[i]!, all.keys[i]!, weight);
      });
      if (all) note = counted(view, all, "arc");
    }
    context.globalAlpha = 1;
    panel.note.textContent = `${note}, thickness by the legend's scale`;

    const paint = (row: TokenRow, y: number, side: "query" | "key") => {
      const ends = (pair: Pair) => (one ? [pair.query, pair.key] : [pair[side]]);
      drawTokens(context, row, {
        ...{ colours, strength, y, away, width, ink: inks[0]! },
        shade: gaze && (one || gaze.side !== side) ? gaze.values : null,
        focus: ends(focus),
        locked: ends(store.locked.value),
      });
    };
    paint(keys, one ? s.over : 0, "key");
    if (!one) paint(queries, s.under, "query");
  }, sweeping);

  const readsKey = () => store.direction.value === "to";
  const at = ({ offsetX, offsetY }: MouseEvent) => {
    const { one, queries, keys } = laid.value;
    const { over, under, height } = space.value;
    const y = offsetY + area.y;
    const onKeys = one ? y >= over && y < under : y < over;
    if (!onKeys && (one || y < under || y >= height)) return null;
    const row = onKeys ? keys : queries;
    const index = row.indices[row.place(offsetX + area.x)] ?? -1;
    return index < 0 ? null : sided(one ? readsKey() : onKeys, index);
  };
  tokenPointing(view, "graph", area.element, at, (down, right, fast) => {
    const { query, key } = store.focus.value;
    const { queries, keys } = store.shown.value;
    const toKey = laid.value.one ? readsKey() : down ? down < 0 : query === null;
    const next = moved(query ?? key, right, toKey ? keys : queries, fast);
    reveal(toKey, next);
    return sided(toKey, next);
  });
  return panel;
}
