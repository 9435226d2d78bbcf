/** The running text as it reads, each token shaded by its weight from or to the focused token. */

import { colourAt, inkOn, positions } from "../colour";
import { on, pointing } from "../pointing";
import type { Range } from "../protocol";
import type { Match, Pair, Words } from "../state";
import type { View } from "../view";
import { isWhole, type Window } from "../window";
import { directionButton } from "./direction";
import { makePanel, type Panel } from "./panel";
import { holds, MOST, merged, textParts } from "./textparts";
import { type TextView, textView } from "./tokenspans";
import { topKeys } from "./topkeys";

type Role = "query" | "key" | "both";

interface Side {
  role: Role;
  n: number;
  text: TextView;
}

/** The ends of a pair that a text shows. */
const ends = (role: Role, { query, key }: Pair): number[] =>
  [role === "key" ? null : query, role === "query" ? null : key].filter((i) => i !== null);

const ranges = (role: Role, { queries, keys }: Window): Range[] =>
  role === "query" ? [queries] : role === "key" ? [keys] : [queries, keys];

export function text(view: View): Panel {
  const { store, select, frames } = view;
  const panel = makePanel(view, "text", "Text");
  panel.note.before(directionButton(view, panel));
  panel.body.before(topKeys(view, panel));
  let sides: Side[] = [];
  let built: Words[] = [];
  let laidFor: Window | null = null;
  let lock: Pair | null = null;
  let at: Match | undefined;
  let last: Pair = { query: null, key: null };

  const share = () => Math.floor(MOST / sides.length);
  const lay = ({ role, n, text }: Side, around: readonly number[], window: Window) => {
    const next = textParts(n, ranges(role, window), around, share());
    if (JSON.stringify(next) !== JSON.stringify(text.parts)) text.lay(next);
  };
  /** Brings a token into sight, everywhere; it is laid out afterwards. */
  const show = (side: Side, pair: Pair, index: number) => {
    select.reveal(pair);
    if (holds(side.text.parts, index)) return;
    laidFor = store.visible.value;
    for (const each of sides) lay(each, each === side ? [index] : [], laidFor);
  };

  const listen = (side: Side) => {
    const { role, n, text } = side;
    const pair = (index: number | null): Pair | null => {
      if (index === null) return null;
      const query = role === "query" || (role === "both" && store.direction.value === "from");
      return query ? { query: index, key: null } : { query: null, key: index };
    };
    pointing<Pair>(text.element, frames, {
      at: (event) => pair(text.indexOf(event)),
      hover: (target) => select.hover(target, "text"),
      lock(target) {
        select.lock(target);
        select.reveal(target);
      },
      arrow(down, right, fast, event) {
        const from = text.indexOf(event) ?? text.leadsTo(event);
        if (from === null) return;
        const next = Math.max(0, Math.min(n - 1, from + (down + right) * (fast ? 10 : 1)));
        const target = pair(next)!;
        show(side, target, next);
        text.focus(next);
        select.hover(target, "text");
      },
      current: (event) => pair(text.indexOf(event)),
    });
    on(text.element, "click", (event) => {
      const to = text.leadsTo(event);
      if (to === null) return;
      const one = role === "both" && merged(ranges(role, store.visible.value), n).length === 1;
      show(side, one ? { query: to, key: to } : pair(to)!, to);
      text.focus(to);
      text.reveal(to, to > text.indices[0]!);
    });
  };

  const build = (): boolean => {
    const { rows, columns } = store.shown.value;
    if (built[0] === rows && built[1] === columns) return false;
    built = [rows, columns];
    const make = (words: Words, role: Role, name: string): Side => ({
      role,
      n: words.labels.length,
      text: textView(words, name),
    });
    sides =
      rows === columns
        ? [make(rows, "both", "")]
        : [make(rows, "query", "queries"), make(columns, "key", "keys")];
    sides.forEach(listen);
    panel.body.replaceChildren(...sides.map((side) => side.text.element));
    return true;
  };

  /** Of a pair the end that is new. */
  const newest = (role: Role, pair: Pair) => {
    const now = ends(role, pair);
    return now.find((i) => !ends(role, last).includes(i)) ?? now[0] ?? null;
  };

  const place = () => {
    const fresh = build();
    const window = store.visible.value;
    const focus = store.focus.value;
    const locked = store.locked.value;
    const hover = store.hoverPair.value;
    const found = store.found.value;
    const match = found?.hits[found.at];
    const moved = window !== laidFor;
    const whole = isWhole(window, store.shown.value);
    // A pointer elsewhere, a new lock or match is followed; a pointer in the text, or one that leaves it, is not.
    const follow = locked !== lock || (match && match !== at) || (hover !== null && hover.panel !== "text");
    for (const side of sides) {
      const { role, n, text } = side;
      const here = ends(role, focus);
      const [first] = text.parts;
      // Zoomed out, one goes on reading where one was.
      const stay = whole && first ? [Math.floor((first[0] + first[1]) / 2)] : [];
      const lost = here.some((i) => !holds(text.parts, i) && holds(ranges(role, window), i));
      if (fresh || moved || (follow && lost)) lay(side, here.length ? here : stay, window);
      if (follow || (moved && here.length)) text.reveal(newest(role, focus));
      else if (moved && !whole) text.reveal(merged(ranges(role, window), n)[0]?.[0] ?? null);
    }
    if (follow) last = focus;
    [laidFor, lock, at] = [window, locked, match];
  };

  const shade = () => {
    const gaze = view.gaze.value;
    const focus = store.focus.value;
    const locked = store.locked.value;
    const found = store.found.value;
    const window = store.visible.value;
    const { ramp } = view.picture.value;
    const { map, dark } = ramp;
    const position = positions(ramp);
    for (const { role, n, text } of sides) {
      const weights = gaze && role !== gaze.side ? gaze.values : null;
      const [focused, held] = [ends(role, focus), ends(role, locked)];
      const marks = found?.marks[role === "key" ? "key" : "query"];
      const current = found?.hits[found.at];
      const here = current && (current.side === role || role === "both") ? current : null;
      const inSight = merged(ranges(role, window), n);
      const alone = view.owners.value[role === "key" ? "keys" : "queries"];
      text.spans.forEach((span, nth) => {
        const i = text.indices[nth]!;
        const weight = weights?.[i] ?? -1;
        const masked = Number.isNaN(weight);
        const step = weight >= 0 ? Math.round(position(weight) * 255) : -1;
        const flags: [string, boolean][] = [
          ["masked", masked],
          ["focused", focused.includes(i)],
          ["locked", held.includes(i)],
          ["found", marks?.[i] === 1],
          ["current", here !== null && i >= here.first && i <= here.last],
          ["outside", !holds(inSight, i)],
          ["only", alone[i] !== undefined],
        ];
        const look = `${step} ${flags} ${map} ${dark}`;
        if (text.looks[nth] === look) return;
        text.looks[nth] = look;
        const rgb = step < 0 ? null : colourAt(step / 255, map, dark);
        span.style.cssText = rgb ? `background-color:rgb(${rgb});color:${inkOn(rgb)}` : "";
        if (alone[i]) span.dataset.only = alone[i];
        for (const [name, on] of flags) span.classList.toggle(name, on);
      });
    }
    panel.note.textContent = gaze
      ? `shaded by the ${store.shown.value.stack.measure ? "measure" : store.reading.value.kind === "lift" ? "lift" : "weights"} ${gaze.side === "query" ? "from query" : "to key"} ${gaze.index}${store.shownHead.value.aggregate ? `, ${view.headWords.value}` : ""}${store.meta.value.compare ? ` in ${store.shownHead.value.stack}` : ""}`
      : "hover a token, click locks it";
  };

  /** Long texts are laid out anew once a gesture, or a pointer on its way over the heatmap, has come to rest. */
  const patient = () => {
    if (!sides.some(({ n }) => n > share())) return false;
    const hover = store.hoverPair.peek();
    const away = hover && hover.panel !== "text";
    return (
      store.draftWindow.peek() !== null ||
      (away !== null &&
        away &&
        sides.some(({ role, text }) => ends(role, hover).some((i) => !holds(text.parts, i))))
    );
  };
  panel.painting(() => {
    place();
    shade();
  }, patient);
  return panel;
}
