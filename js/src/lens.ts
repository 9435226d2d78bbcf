/** Words and hidden keys: their controls, and what is said of them. */
import { binOf } from "./codes";
import { attr, h } from "./dom";
import { on } from "./pointing";
import { computed, effect } from "./signals";
import { sinksOf } from "./sinks";
import { named, visible } from "./tokens";
import type { View } from "./view";

/** So many keys are named; the others are counted. */
const NAMED = 4;
const SINKS = 2;

const example = ({ store }: View) => {
  const { stack, batch } = store.shown.value;
  return stack.examples[batch]!;
};

/** Keys that are hidden in what is shown, as tokens, each with its name. */
export const hiddenKeys = (view: View): readonly (readonly [number, string])[] =>
  (example(view).hidden ?? []).map(([key, text]) => [key, `${key} "${visible(text)}"`] as const);

/** The tokens of a key: of a word, all of them. */
function tokensOf(view: View, key: number): number[] {
  const starts = example(view).key_starts;
  const [first, stop] = starts ? [starts[key]!, starts[key + 1]!] : [key, key + 1];
  return Array.from({ length: stop - first }, (_, i) => first + i);
}

export function isHidden(view: View, key: number): boolean {
  const hidden = new Set(example(view).hidden?.map(([token]) => token));
  return tokensOf(view, key).every((token) => hidden.has(token));
}

const answers = ({ source }: View) => source.link.value === "live" || source.link.value === "busy";

/** A page without a kernel cannot show other weights than those it has. */
function needsKernel(view: View, button: HTMLButtonElement, title: string): void {
  const can = answers(view);
  button.disabled = !can;
  button.title = can ? title : `${title}. Needs a running kernel: run the cell again`;
}

export function toggleWords(view: View): void {
  if (answers(view)) view.store.words.value = !view.store.words.value;
}

/** Hides a key, or shows it again. */
export function toggleKey(view: View, key: number | null): void {
  if (key === null || !answers(view)) return;
  const hidden = new Set(view.store.hidden_keys.value);
  const show = isHidden(view, key);
  for (const token of tokensOf(view, key)) show ? hidden.delete(token) : hidden.add(token);
  setHidden(view, [...hidden]);
}

function setHidden({ store }: View, keys: number[]): void {
  store.hidden_keys.value = keys.sort((a, b) => a - b);
}

/** In the toolbar: the toggle, and a chip for each hidden key. */
export function lensControls(view: View): HTMLElement {
  const { store } = view;
  const words = h("button", { className: "toggle" }, "words");
  on(words, "click", () => toggleWords(view));
  const chips = h("span", { className: "chips" });
  view.disposers.push(
    effect(() => {
      attr(words, "aria-pressed", String(store.words.value));
      needsKernel(
        view,
        words,
        "Merge sub-words to words: sums over their keys, means over their queries; key w",
      );
    }),
    effect(() => {
      const hidden = hiddenKeys(view);
      const show = (text: string, title: string, keys: () => number[]) => {
        const chip = h("button", { className: "chip" }, h("bdi", {}, text), " ✕");
        needsKernel(view, chip, title);
        attr(chip, "aria-label", chip.title);
        on(chip, "click", () => setHidden(view, keys()));
        return chip;
      };
      chips.hidden = !hidden.length;
      chips.replaceChildren(
        "hidden",
        ...hidden
          .slice(0, NAMED)
          .map(([key, name]) =>
            show(name, `Show key ${name} again`, () =>
              store.hidden_keys.peek().filter((other) => other !== key),
            ),
          ),
        ...(hidden.length > 1 ? [show(`all ${hidden.length}`, "Show all hidden keys again", () => [])] : []),
      );
    }),
  );
  return h("span", { className: "lens" }, words, chips);
}

/** In the legend: what was made of the weights, and which keys take most of them. */
export function lensNotes(view: View): HTMLElement {
  const made = h("span");
  const sinks = h("span", { className: "sinks" });
  const found = computed(() => sinksOf(view).slice(0, SINKS));
  view.disposers.push(
    effect(() => {
      const hidden = hiddenKeys(view).map(([, name]) => name);
      const names = hidden.slice(0, NAMED).join(", ");
      const more = hidden.length > NAMED ? ` and ${hidden.length - NAMED} more` : "";
      made.textContent = [
        view.store.meta.value.words ? "words: sums over keys, means over queries" : "",
        hidden.length ? `rows renormalised without key${hidden.length > 1 ? "s" : ""} ${names}${more}` : "",
      ]
        .filter(Boolean)
        .join(" · ");
      made.hidden = !made.textContent;
    }),
    effect(() => {
      const { columns, keys } = view.store.shown.value;
      const { tile, head } = view.picture.value;
      sinks.hidden = !found.value.length;
      sinks.replaceChildren(
        ...found.value.map(([key, share]) => {
          const name = named(columns.labels, key);
          const out = !view.store.domain.value && tile && head?.sinks[binOf(key, keys, tile.width)];
          const hide = h("button", { className: "toggle" }, "hide");
          needsKernel(view, hide, `Hide key ${name}: its rows are renormalised over the other keys; key h`);
          attr(hide, "aria-label", `Hide key ${name}`);
          on(hide, "click", () => toggleKey(view, key));
          const percent = `about ${Math.round(share * 100)} % of the mass of this head`;
          return h("span", {}, `sink: key ${name}, ${percent}${out ? ", left out of the range" : ""} `, hide);
        }),
      );
    }),
  );
  return h("span", { className: "lens" }, made, sinks);
}

/** Beside the lock: hides the locked key. */
export function hideButton(view: View): HTMLElement {
  const button = h("button", { className: "toggle" }, "hide key");
  on(button, "click", () => toggleKey(view, view.store.locked.peek().key));
  view.disposers.push(
    effect(() => {
      const { key } = view.store.locked.value;
      button.hidden = key === null;
      if (key === null) return;
      const hidden = isHidden(view, key);
      button.textContent = hidden ? "show key" : "hide key";
      const name = named(view.store.shown.value.columns.labels, key);
      const what = hidden
        ? `Show key ${name} again`
        : `Hide key ${name}, its rows renormalised over the other keys`;
      needsKernel(view, button, `${what}; key h`);
    }),
  );
  return button;
}
