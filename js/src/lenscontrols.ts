/** The controls of words and hidden keys: they need a kernel, and come with its module. */
import { attr, h } from "./dom";
import { hiddenKeys, isHidden, NAMED, refill, tokensOf } from "./lens";
import { on } from "./pointing";
import { answers } from "./rpc";
import { effect } from "./signals";
import { named } from "./tokens";
import type { View } from "./view";

/** A button for what only a kernel can do: another capture is made there. */
function control(view: View, act: () => void, className = "toggle") {
  const button = h("button", { className });
  on(button, "click", act);
  /** Inside an effect. `title` is the name as well, where the text is not. */
  const says = (text: string, title: string) => {
    const can = answers(view.source);
    button.disabled = !can;
    button.title = can ? title : `${title}. Needs a running kernel: run the cell again`;
    button.replaceChildren(h("bdi", {}, text));
    attr(button, "aria-label", button.title);
    return button;
  };
  return { button, says };
}

export function toggleWords(view: View): void {
  if (answers(view.source) && !view.store.meta.value.compare)
    view.store.words.value = !view.store.words.value;
}

/** Hides a key, or shows it again. */
export function toggleKey(view: View, key: number | null): void {
  if (key === null || !answers(view.source)) return;
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
      refill(
        chips,
        "hidden",
        ...hidden
          .slice(0, NAMED)
          .map(([key, name]) => chip(name, `Show key ${name} again`, (other) => other !== key)),
        ...(hidden.length > 1 ? [chip(`all ${hidden.length}`, "Show all keys again", () => false)] : []),
      );
      chips.hidden = !hidden.length;
    }),
  );
  return h("span", { className: "lens" }, words.button, chips);
}

/** Beside a sink in the legend. Inside an effect. */
export const hideSink = (view: View, key: number, name: string) =>
  control(view, () => toggleKey(view, key)).says("hide", `Hide key ${name}, key h`);

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
