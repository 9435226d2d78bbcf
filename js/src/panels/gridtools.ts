/** The controls of the grid: sorted by what, which heads, coloured by what, and heads like the locked one. */
import { colourAt } from "../colour";
import { attr, h, iconButton } from "../dom";
import { PAIR } from "../finder";
import { formatEnd } from "../format";
import { on } from "../pointing";
import { effect } from "../signals";
import { chooser } from "../toolbar";
import type { View } from "../view";

const STOPS = 8;

export function gridTools(view: View): { element: HTMLElement; dispose(): void } {
  const { store, finder } = view;
  const orNull = (value: string) => value || null;
  const sort = chooser("sort", "What the heads are sorted by", (name) => {
    store.like.value = null;
    store.sort.value = orNull(name);
  });
  const turn = iconButton("", "", "step");
  on(turn, "click", () => {
    store.ascending.value = !store.ascending.value;
  });
  const colour = chooser("colour", "What the heads are coloured by", (name) => {
    store.colour_by.value = orNull(name);
  });
  const only = chooser("only", "Which heads are shown", (name) => {
    const low = store.meta.value.measures?.some(([each, , unit]) => each === name && unit !== "share")
      ? 1
      : 0.1;
    store.filter.value = name ? [name, low, null] : null;
  });
  const ends = [1, 2].map((end) => {
    const field = h("input", {
      type: "number",
      min: "0",
      step: "any",
      aria: { label: end === 1 ? "at least" : "at most" },
      placeholder: end === 1 ? "from" : "to",
    });
    on(field, "change", () => {
      const next = [...store.filter.value!] as NonNullable<typeof store.filter.value>;
      next[end as 1] = field.value === "" ? null : field.valueAsNumber;
      // An end past the other one pushes it along.
      const [, low, high] = next;
      if (low !== null && high !== null && low > high) next[(3 - end) as 1] = null;
      store.filter.value = next;
    });
    return field;
  });
  const like = h("button", { title: "Heads like the locked one first, key s" }, "like this");
  on(like, "click", () => finder.toggleLike());
  const bar = h("span", { className: "bar" });
  const from = h("span");
  const to = h("span");
  const scale = h("span", { className: "scale" }, from, bar, to);
  const words = h("span", { role: "status" });
  const stops = [
    effect(() => {
      const measures = store.meta.value.measures ?? [];
      const choices = (none: string): [string, string][] => [
        ["", none],
        [PAIR, finder.title(PAIR)],
        ...measures.map(([name, title]): [string, string] => [name, title]),
      ];
      sort.update(choices("layer"), store.like.value ? "" : (store.sort.value ?? ""));
      colour.update(choices("weights"), store.colour_by.value ?? "");
      only.update(choices("all heads"), store.filter.value?.[0] ?? "");
      turn.hidden = !store.sort.value || Boolean(store.like.value);
      turn.textContent = store.ascending.value ? "↑" : "↓";
      turn.title = `${store.ascending.value ? "Smallest" : "Largest"} first: turn round`;
      attr(turn, "aria-label", turn.title);
      attr(like, "aria-pressed", String(Boolean(store.like.value)));
      ends.forEach((field, i) => {
        field.hidden = !store.filter.value;
        field.value = String(store.filter.value?.[(i + 1) as 1] ?? "");
      });
    }),
    effect(() => {
      const shown = finder.colour.value;
      scale.hidden = !shown;
      if (shown) {
        const map = store.colormap.value;
        const stop = (_: unknown, i: number) => `rgb(${colourAt(i / STOPS, map, view.dark.value)})`;
        bar.style.background = `linear-gradient(90deg, ${Array.from({ length: STOPS + 1 }, stop)})`;
        [from.textContent, to.textContent] = shown.range.map(formatEnd) as [string, string];
      }
    }),
    effect(() => {
      words.textContent = finder.words.value;
    }),
  ];
  return {
    element: h(
      "div",
      { className: "tools" },
      h("span", {}, sort.element, turn),
      h("span", {}, only.element, ...ends),
      colour.element,
      like,
      scale,
      words,
    ),
    dispose() {
      for (const stop of stops) stop();
    },
  };
}
