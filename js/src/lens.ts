/** Words and hidden keys: their controls, and what is said of them. */
import { binOf } from "./codes";
import { attr, h } from "./dom";
import { dots } from "./format";
import { on } from "./pointing";
import { effect } from "./signals";
import { sinksOf } from "./sinks";
import { named, visible } from "./tokens";
import type { View } from "./view";

/** So many keys are named; the others are counted. */
const NAMED = 4;

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
  const first = starts ? starts[key]! : key;
  return Array.from({ length: starts ? starts[key + 1]! - first : 1 }, (_, i) => first + i);
}

export function isHidden(view: View, key: number): boolean {
  const hidden = example(view).hidden ?? [];
  return tokensOf(view, key).every((token) => hidden.some(([other]) => other === token));
}

const answers = ({ source }: View) => source.link.value === "live" || source.link.value === "busy";

/** A button for what only a kernel can do: another capture is made there. */
function control(view: View, act: () => void, className = "toggle") {
  const button = h("button", { className });
  on(button, "click", act);
  /** Inside an effect. `title` is the name as well, where the text is not. */
  const says = (text: string, title: string) => {
    const can = answers(view);
    button.disabled = !can;
    button.title = can ? title : `${title}. Needs a running kernel: run the cell again`;
    button.replaceChildren(h("bdi", {}, text));
    attr(button, "aria-label", button.title);
    return button;
  };
  return { button, says };
}

export function toggleWords(view: View): void {
  if (answers(view) && !view.store.meta.value.compare) view.store.words.value = !view.store.words.value;
}

/** Hides a key, or shows it again. */
export function toggleKey(view: View, key: number | null): void {
  if (key === null || !answers(view)) return;
  const tokens = tokensOf(view, key);
  const rest = view.store.hidden_keys.value.filter((token) => !tokens.includes(token));
  setHidden(view, isHidden(view, key) ? rest : [...rest, ...tokens]);
}

function setHidden({ store }: View, keys: number[]): void {
  store.hidden_keys.value = keys.sort((a, b) => a - b);
}

/** In the toolbar: the toggle, and a chip for each hidden key. */
export function lensControls(view: View): HTMLElement {
  const { store } = view;
  const words = control(view, () => toggleWords(view));
  const chips = h("span");
  view.disposers.push(
    effect(() => {
      words.says("words", "Merge sub-words to words, key w");
      words.button.hidden = Boolean(store.meta.value.compare);
      attr(words.button, "aria-pressed", String(store.words.value));
    }),
    effect(() => {
      const hidden = hiddenKeys(view);
      const chip = (text: string, title: string, left: (key: number) => boolean) =>
        control(view, () => setHidden(view, store.hidden_keys.peek().filter(left)), "chip").says(text, title);
      chips.hidden = !hidden.length;
      chips.replaceChildren(
        "hidden",
        ...hidden
          .slice(0, NAMED)
          .map(([key, name]) => chip(name, `Show key ${name} again`, (other) => other !== key)),
        ...(hidden.length > 1 ? [chip(`all ${hidden.length}`, "Show all keys again", () => false)] : []),
      );
    }),
  );
  return h("span", { className: "lens" }, words.button, chips);
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
      sinks.replaceChildren(
        ...sinksOf(view).map(([key, share]) => {
          const name = named(columns.labels, key);
          const out = !view.store.domain.value && tile && head?.sinks.includes(binOf(key, keys, tile.width));
          const words = `sink: key ${name}, about ${Math.round(share * 100)} % of the mass of this head`;
          const hide = control(view, () => toggleKey(view, key)).says("hide", `Hide key ${name}, key h`);
          return h("span", {}, `${words}${out ? ", left out of the range" : ""} `, hide);
        }),
      );
    }),
  );
  return h("span", { className: "lens" }, made, sinks);
}

/** Beside the lock: hides the locked key. */
export function hideButton(view: View): HTMLElement {
  const { button, says } = control(view, () => toggleKey(view, view.store.locked.peek().key));
  view.disposers.push(
    effect(() => {
      const { key } = view.store.locked.value;
      button.hidden = key === null;
      const what = key !== null && isHidden(view, key) ? "show" : "hide";
      const name = key === null ? "" : named(view.store.shown.value.columns.labels, key);
      says(`${what} key`, `${what === "hide" ? "Hide" : "Show"} key ${name}, key h`);
    }),
  );
  return button;
}
