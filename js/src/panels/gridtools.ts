/** The controls of the grid: sorted by what, which heads, coloured by what, and heads like the locked one. */
import { attr, h, iconButton } from "../dom";
import { on } from "../pointing";
import type { AddedMap } from "../protocol";
import { effect } from "../signals";
import { chooser } from "../toolbar";
import type { View } from "../view";
import { gridAbout } from "./gridabout";

/** What a control is for, and under it what it stands at. */
const withWords = (what: string, paragraphs: readonly string[]) => [what, ...paragraphs].join("\n\n");

/** The share of a head's mass from which a filter begins. */
const LEAST = 0.1;

/** Fills a chooser: none, the measures of this text, and in a group of their own the maps that were added. */
function fill(
  into: ReturnType<typeof chooser>,
  none: string,
  { store }: View,
  maps: readonly AddedMap[],
  value: string,
): void {
  const measures = (store.meta.value.measures ?? []).map(([name, title]) => [name, title] as const);
  into.update([["", none], ...measures], value);
  if (!maps.length) return;
  const options = maps.map(({ name, title }) => h("option", { value: name, textContent: title }));
  const select = into.element.querySelector("select")!;
  select.append(h("optgroup", { label: "added maps" }, ...options));
  select.value = value;
}

/** Puts them into their place; the function returned ends what keeps them current. */
export function gridTools(view: View, place: HTMLElement): () => void {
  const { meta, sort, ascending, like, filter, colour_by } = view.store;
  const about = gridAbout(view);
  const order = chooser("sort", "What heads are sorted by", (name) => {
    like.value = null;
    sort.value = name || null;
  });
  const turn = iconButton("", "Smallest first", "step");
  on(turn, "click", () => {
    ascending.value = !ascending.value;
  });
  const only = chooser("only", "Which heads are shown", (name) => {
    filter.value = name ? [name, about.signed(name) ? 0 : LEAST] : null;
  });
  const least = h("input", { type: "number", min: "0", step: "any", aria: { label: "at least" } });
  on(least, "change", () => {
    filter.value = [filter.value![0], least.valueAsNumber || 0];
  });
  const colour = chooser("colour", "What heads are coloured by", (name) => {
    colour_by.value = name || null;
  });
  const alike = h("button", { title: "Heads like the locked one first, key s" }, "like this");
  on(alike, "click", () => view.finder.toggleLike());
  const words = h("div", { className: "said", role: "status" });
  const stops = [
    effect(() => {
      const maps = about.maps.value;
      fill(order, "layer", view, maps, (!like.value && sort.value) || "");
      fill(only, "all heads", view, maps, filter.value?.[0] ?? "");
      fill(
        colour,
        view.store.shown.value.stack.measure ? "measure" : "weights",
        view,
        maps,
        colour_by.value ?? "",
      );
      turn.hidden = !sort.value || Boolean(like.value);
      turn.textContent = ascending.value ? "↑" : "↓";
      attr(turn, "aria-pressed", String(ascending.value));
      attr(alike, "aria-pressed", String(Boolean(like.value)));
      alike.hidden = (meta.value.measures?.length ?? 0) < 2;
      least.hidden = !filter.value;
      least.value = String(filter.value?.[1]);
      // Maps may be below 0.
      attr(least, "min", filter.value && about.signed(filter.value[0]) ? null : "0");
    }),
    effect(() => {
      order.element.title = withWords(
        "What heads are sorted by",
        about.words(like.value ? null : sort.value),
      );
      only.element.title = withWords("Which heads are shown", about.words(filter.value?.[0]));
      colour.element.title = withWords("What heads are coloured by", about.words(colour_by.value));
    }),
    about.dispose,
    effect(() => {
      words.textContent = view.finder.words.value;
    }),
  ];
  place.replaceChildren(
    h("span", {}, order.element, turn),
    h("span", {}, only.element, least),
    h("span", {}, colour.element, about.button),
    alike,
    words,
    about.dialog,
  );
  return () => {
    for (const stop of stops) stop();
  };
}
