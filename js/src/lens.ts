/** Words and hidden keys: what is said of them. Their controls are in `lenscontrols.ts`. */
import { binOf } from "./codes";
import { h } from "./dom";
import { dots } from "./format";
import { kit } from "./kit";
import { effect } from "./signals";
import { sinksOf } from "./sinks";
import { named, visible } from "./tokens";
import type { View } from "./view";

/** So many keys are named; the others are counted. */
export const NAMED = 4;

const example = ({ store }: View) => {
  const { stack, batch } = store.shown.value;
  return stack.examples[batch]!;
};

/** Keys that are hidden in what is shown, as tokens, each with its name. */
export const hiddenKeys = (view: View): readonly (readonly [number, string])[] =>
  (example(view).hidden ?? []).map(([key, text]) => [key, `${key} "${visible(text)}"`] as const);

/** The tokens of a key: of a word, all of them. */
export function tokensOf(view: View, key: number): number[] {
  const starts = example(view).key_starts;
  const first = starts ? starts[key]! : key;
  return Array.from({ length: starts ? starts[key + 1]! - first : 1 }, (_, i) => first + i);
}

export function isHidden(view: View, key: number): boolean {
  const hidden = example(view).hidden ?? [];
  return tokensOf(view, key).every((token) => hidden.some(([other]) => other === token));
}

/** What was made of the weights. */
export function lensWords(view: View): string {
  const hidden = hiddenKeys(view).map(([, name]) => name);
  const more = hidden.length - NAMED;
  const names = hidden.slice(0, NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
  return dots(
    view.store.meta.value.words ? "words: sums over keys, means over queries" : "",
    names && `rows renormalised without key${hidden.length > 1 ? "s" : ""} ${names}`,
  );
}

/** Puts other content into a place. What had the focus in it hands it on: keys go on working. */
export function refill(place: HTMLElement, ...content: (Node | string)[]): void {
  const around = place.getRootNode() as ShadowRoot;
  const focused = place.contains(around.activeElement ?? null);
  place.replaceChildren(...content);
  if (focused) (place.querySelector("button") ?? around.querySelector<HTMLElement>(".toggle"))?.focus();
}

/** In the legend: the same, and which keys take most of the weights. */
export function lensNotes(view: View): HTMLElement {
  const made = h("span", { role: "status" });
  const sinks = h("span", { className: "sinks" });
  view.disposers.push(
    effect(() => {
      made.textContent = lensWords(view);
    }),
    effect(() => {
      const { columns, keys } = view.store.shown.value;
      const { tile, head } = view.picture.value;
      refill(
        sinks,
        ...sinksOf(view).map(([key, share]) => {
          const name = named(columns.labels, key);
          const out = !view.store.domain.value && tile && head?.sinks.includes(binOf(key, keys, tile.width));
          const words = `sink: key ${name}, about ${Math.round(share * 100)} % of the mass of this head`;
          const hide = kit.value?.hideSink(view, key, name) ?? "";
          return h("span", {}, `${words}${out ? ", left out of the range" : ""} `, hide);
        }),
      );
    }),
  );
  return h("span", { className: "lens" }, made, sinks);
}
