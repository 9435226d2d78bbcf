/** The search field: typing previews the nearest match, Enter locks it and then the next, Esc takes the preview back. */
import { h, iconButton } from "./dom";
import { on } from "./pointing";
import { JUMP, nearest, pairOf, search } from "./search";
import { batch, effect } from "./signals";
import type { Match, Pair } from "./state";
import type { View } from "./view";
import type { Window } from "./window";

const TITLE =
  "Find tokens by their text, or type #12 to jump to token 12. Enter locks and goes on, Shift+Enter goes back, Esc ends. Key /";

export function findField(view: View): HTMLElement {
  const { store, select } = view;
  const input = h("input", {
    type: "search",
    placeholder: "text or #index",
    spellcheck: false,
    autocomplete: "off",
  });
  const said = h("span", { className: "said", role: "status" });
  const previous = iconButton("‹", "Previous match, key Shift+Enter", "step");
  const next = iconButton("›", "Next match, key Enter", "step");
  /** Where a search began: its window, and the token from which the nearest match is looked for. */
  let start: { window: Window; from: number } | null = null;
  /** What had the keyboard before. */
  let came: HTMLElement | null = null;
  /** Enter locks a match that was only previewed before it goes on. */
  let previewed = false;

  const pair = (match: Match): Pair => pairOf(match, store.direction.peek());
  const begin = () => {
    const { query, key } = store.focus.peek();
    const window = store.visible.peek();
    start ??= {
      window,
      from: query ?? key ?? Math.floor(window[store.direction.peek() === "from" ? "queries" : "keys"][0]),
    };
    return start;
  };
  const goTo = (at: number, lock: boolean) => {
    const found = store.found.peek();
    const match = found?.matches[at];
    if (!found || !match) return;
    previewed = !lock;
    const target = pair(match);
    const { query, key } = store.locked.peek();
    batch(() => {
      store.found.value = { ...found, at };
      if (lock && (query !== target.query || key !== target.key)) select.lock(target);
      select.hover(target, "text");
      select.reveal(target);
    });
  };
  const typed = () => {
    const text = input.value;
    if (!text) {
      end();
      return;
    }
    const { from, window } = begin();
    const { direction } = store;
    const shown = store.shown.peek();
    const jump = JUMP.exec(text.trim());
    let matches: Match[];
    if (jump) {
      const index = Number(jump[1] ?? jump[2]);
      const { queries, keys, rows, columns } = shown;
      const side = rows === columns ? "both" : direction.peek() === "from" ? "query" : "key";
      matches = index < (side === "key" ? keys : queries) ? [{ side, first: index, last: index }] : [];
    } else matches = search(shown, text);
    store.found.value = { text, matches, at: -1 };
    if (matches.length) goTo(nearest(matches, from), false);
    else {
      select.hover(null, "text");
      if (previewed) select.look(window);
      previewed = false;
    }
  };
  const step = (by: number) => {
    const found = store.found.peek();
    if (!found?.matches.length) return;
    const n = found.matches.length;
    goTo(previewed && by > 0 ? found.at : (found.at + by + n) % n, true);
  };
  /** What was only previewed is taken back, what was locked stays. */
  const end = () => {
    if (start && previewed) select.look(start.window);
    select.hover(null, "text");
    start = null;
    previewed = false;
    input.value = "";
    store.found.value = null;
  };
  on(input, "input", typed);
  on(input, "focus", (event) => {
    begin();
    came = event.relatedTarget as HTMLElement | null;
  });
  on(input, "blur", () => {
    select.hover(null, "text");
    if (!store.found.peek()) start = null;
  });
  on(previous, "click", () => step(-1));
  on(next, "click", () => step(1));
  on(input, "keydown", (event) => {
    // Brackets and question marks are text here, not keys of the view.
    event.stopPropagation();
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") {
      end();
      if (came) came.focus();
      else input.blur();
    } else return;
    event.preventDefault();
  });

  view.disposers.push(
    effect(() => {
      const found = store.found.value;
      said.hidden = !found;
      previous.hidden = next.hidden = !found?.matches.length;
      said.textContent = found ? words(found.text, found.matches.length, found.at) : "";
    }),
    // Another text has other matches.
    effect(() => {
      void store.shown.value;
      if (store.found.peek()) typed();
    }),
  );
  const words = (text: string, n: number, at: number) => {
    if (JUMP.test(text.trim())) {
      if (n) return "";
      const { queries, keys, rows, columns } = store.shown.value;
      const last = rows !== columns && store.direction.value === "to" ? keys : queries;
      return `no such token: there are 0 to ${(last - 1).toLocaleString("en")}`;
    }
    return n ? `${(at + 1).toLocaleString("en")} of ${n.toLocaleString("en")}` : "not in the text";
  };
  return h(
    "span",
    { className: "find" },
    h("label", { title: TITLE }, h("span", {}, "find token"), input),
    said,
    previous,
    next,
  );
}
