/** The controls of the grid: sorted by what, which heads, coloured by what, and heads like the locked one. */
import { attr, h, iconButton } from "../dom";
import { on } from "../pointing";
import { effect } from "../signals";
import { chooser } from "../toolbar";
import type { View } from "../view";

/** The share of a head's mass from which a filter begins. */
const LEAST = 0.1;

/** Puts them into their place; the function returned ends what keeps them current. */
export function gridTools(view: View, place: HTMLElement): () => void {
  const { meta, sort, ascending, like, filter, colour_by } = view.store;
  const order = chooser("sort", "What heads are sorted by", (name) => {
    like.value = null;
    sort.value = name || null;
  });
  const turn = iconButton("", "Smallest first", "step");
  on(turn, "click", () => {
    ascending.value = !ascending.value;
  });
  const only = chooser("only", "Which heads are shown", (name) => {
    filter.value = name ? [name, LEAST] : null;
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
      const choices = (none: string) => [["", none], ...(meta.value.measures ?? [])] as [string, string][];
      order.update(choices("layer"), (!like.value && sort.value) || "");
      only.update(choices("all heads"), filter.value?.[0] ?? "");
      colour.update(choices("weights"), colour_by.value ?? "");
      turn.hidden = !sort.value || Boolean(like.value);
      turn.textContent = ascending.value ? "↑" : "↓";
      attr(turn, "aria-pressed", String(ascending.value));
      attr(alike, "aria-pressed", String(Boolean(like.value)));
      alike.hidden = !meta.value.measures;
      least.hidden = !filter.value;
      least.value = String(filter.value?.[1]);
    }),
    effect(() => {
      words.textContent = view.finder.words.value;
    }),
  ];
  place.replaceChildren(
    h("span", {}, order.element, turn),
    h("span", {}, only.element, least),
    colour.element,
    alike,
    words,
  );
  return () => {
    for (const stop of stops) stop();
  };
}
