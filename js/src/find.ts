/** The search field: typing previews the nearest match, Enter locks it and then the next, Esc takes the preview back. */

import { h, iconButton } from "./dom";
import { grouped } from "./format";
import { on } from "./pointing";
import { nearest, pairOf, search } from "./search";
import { batch, effect } from "./signals";
import type { Found } from "./state";
import type { View } from "./view";
import type { Window } from "./window";

const TITLE =
  "Find tokens by their text, or type #12 to jump to token 12. Enter locks and goes on, Shift+Enter goes back, Esc ends. Key /";

export function findField(view: View): HTMLElement {
  const { store, select } = view;
  const input = h("input", {
    type: "search",
    placeholder: "find or #index",
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
    const match = found?.hits[at];
    if (!found || !match) return;
    previewed = !lock;
    const target = pairOf(match, store.direction.peek());
    batch(() => {
      store.found.value = { ...found, at };
      if (lock) select.restore(target);
      select.hover(target, "text");
      select.reveal(target);
    });
  };
  const typed = () => {
    if (!input.value) {
      end();
      return;
    }
    const { from, window } = begin();
    const found = search(store.shown.peek(), input.value, store.direction.peek());
    store.found.value = found;
    if (found.hits.length) goTo(nearest(found.hits, from), false);
    else {
      select.endHover();
      if (previewed) select.look(window);
      previewed = false;
    }
  };
  const step = (by: number) => {
    const found = store.found.peek();
    if (!found?.hits.length) return;
    const n = found.hits.length;
    goTo(previewed && by > 0 ? found.at : (found.at + by + n) % n, true);
  };
  /** What was only previewed is taken back, what was locked stays. */
  const end = () => {
    select.endHover();
    if (start && previewed) select.look(start.window);
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
      previous.hidden = next.hidden = !found?.hits.length;
      said.textContent = found && words(found);
    }),
    // Another text has other matches.
    effect(() => {
      void store.shown.value;
      if (store.found.peek() && input.value) typed();
    }),
  );
  const label = h("label", { title: TITLE }, h("span", { className: "hidden" }, "find token"), input);
  return h("span", { className: "find" }, label, said, previous, next);
}

function words({ hits, at, last }: Found): string {
  if (last !== null) return hits.length ? "" : `no such token: there are 0 to ${grouped(last)}`;
  return hits.length ? `${grouped(at + 1)} of ${grouped(hits.length)}` : "not in the text";
}
