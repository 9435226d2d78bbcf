/** The running text as it reads, each token shaded by its weight from or to the focused token. */

import { colourAt, inkOn, positions } from "../colour";
import { attr, h } from "../dom";
import { on, pointing } from "../pointing";
import { effect } from "../signals";
import type { Pair, Words } from "../state";
import type { View } from "../view";
import { makePanel, type Panel } from "./panel";
import { buildText, type TextView } from "./tokenspans";

type Role = "query" | "key" | "both";

interface Side {
  role: Role;
  text: TextView;
}

const WORDS = {
  from: ["what it looks at", "A token is read as a query: the text is shaded by what it looks at."],
  to: ["what looks at it", "A token is read as a key: the text is shaded by what looks at it."],
} as const;

export function text(view: View): Panel {
  const { store, select, frames } = view;
  const panel = makePanel(view, "text", "Text");
  const toggle = h("button", { className: "direction" });
  panel.note.before(toggle);
  on(toggle, "click", () => {
    store.direction.value = store.direction.value === "from" ? "to" : "from";
  });
  let sides: Side[] = [];
  let built: Words[] = [];

  const listen = ({ role, text: { element, indexOf, focus } }: Side) => {
    const pair = (index: number | null): Pair | null => {
      if (index === null) return null;
      const query = role === "query" || (role === "both" && store.direction.value === "from");
      return query ? { query: index, key: null } : { query: null, key: index };
    };
    pointing<Pair>(element, frames, {
      at: (event) => pair(indexOf(event)),
      hover: (target) => select.hover(target, "text"),
      lock: (target) => select.lock(target),
      arrow(down, right, fast, event) {
        const next = focus((indexOf(event) ?? -1) + (down + right) * (fast ? 10 : 1));
        if (next !== null) select.hover(pair(next), "text");
      },
      current: (event) => pair(indexOf(event)),
    });
  };

  const build = () => {
    const { rows, columns } = store.shown.value;
    const focus = store.focus.value.query ?? store.focus.value.key ?? 0;
    if (built[0] === rows && built[1] === columns && sides.every((side) => side.text.covers(focus))) return;
    built = [rows, columns];
    const make = (words: Words, role: Role, name: string): Side => ({
      role,
      text: buildText(words, name, focus),
    });
    sides =
      rows === columns
        ? [make(rows, "both", "")]
        : [make(rows, "query", "queries"), make(columns, "key", "keys")];
    sides.forEach(listen);
    panel.body.replaceChildren(...sides.map((side) => side.text.element));
  };

  panel.painting(() => {
    build();
    const gaze = view.gaze.value;
    const focus = store.focus.value;
    const locked = store.locked.value;
    const { scale, range, map, dark } = view.picture.value.ramp;
    const position = positions(scale, range);
    for (const { role, text: side } of sides) {
      const weights = gaze && role !== gaze.side ? gaze.values : null;
      const has = (pair: Pair, i: number) =>
        (role !== "key" && i === pair.query) || (role !== "query" && i === pair.key);
      side.spans.forEach((span, nth) => {
        const i = nth + side.start;
        const weight = weights?.[i] ?? -1;
        const masked = Number.isNaN(weight);
        const step = weight >= 0 ? Math.round(position(weight) * 255) : -1;
        const look = `${step} ${masked} ${has(focus, i)} ${has(locked, i)} ${map} ${dark}`;
        if (side.looks[nth] === look) return;
        side.looks[nth] = look;
        const rgb = step < 0 ? null : colourAt(step / 255, map, dark);
        span.style.cssText = rgb ? `background-color:rgb(${rgb});color:${inkOn(rgb)}` : "";
        span.classList.toggle("masked", masked);
        span.classList.toggle("focused", has(focus, i));
        span.classList.toggle("locked", has(locked, i));
      });
    }
    toggle.hidden = sides.length > 1;
    [toggle.textContent, toggle.title] = WORDS[store.direction.value];
    attr(toggle, "aria-pressed", String(store.direction.value === "to"));
    panel.note.textContent = gaze
      ? `shaded by the weights ${gaze.side === "query" ? "from query" : "to key"} ${gaze.index}`
      : "hover a token, click locks it";
  });
  panel.onDispose(
    effect(() => {
      const { query, key } = store.focus.value;
      if (store.hoverPair.value?.panel === "text") return;
      for (const { role, text: side } of sides)
        side.reveal(role === "key" ? key : role === "query" ? query : (query ?? key));
    }),
  );
  return panel;
}
