/** The controls: which head, and how it is drawn. */

import { h, iconButton } from "./dom";
import { made } from "./kit";
import { panelMenu } from "./panelmenu";
import { on } from "./pointing";
import { effect } from "./signals";
import { preview } from "./tokens";
import type { View } from "./view";

/** A label and a select; `update` takes [value, text] pairs and hides what leaves no choice. */
export function chooser(name: string, title: string, pick: (value: string) => void) {
  const select = h("select");
  let shown = "";
  on(select, "change", () => {
    const { value } = select;
    // What is picked may be something to do, or change nothing: what is shown follows the state alone.
    select.value = shown;
    pick(value);
  });
  const element = h("label", { title }, h("span", {}, name), select);
  return {
    element,
    update(choices: readonly (readonly [string, string])[], value: string) {
      element.hidden = choices.length < 2;
      select.replaceChildren(...choices.map(([v, text]) => h("option", { value: v, textContent: text })));
      select.value = shown = value;
    },
  };
}

function stepper(name: string, keys: string, move: (by: number) => void) {
  const value = h("strong");
  const button = (by: number, sign: string, which: string, key: string) => {
    const b = iconButton(sign, `${which} ${name}, key ${key}`, "step");
    on(b, "click", () => move(by));
    return b;
  };
  const previous = button(-1, "‹", "Previous", keys[0]!);
  const next = button(1, "›", "Next", keys[1]!);
  return {
    element: h("span", { className: "stepper" }, h("span", {}, name), previous, value, next),
    /** `kept`: the numbers in the model, where only some were kept. */
    update(now: number, n: number, kept?: number[]) {
      value.textContent = kept ? `${now} (${kept[now]})` : String(now);
      value.title = kept ? `${name} ${kept[now]} of the model` : "";
      previous.disabled = now <= 0;
      next.disabled = now >= n - 1;
    },
  };
}

export const plain = (all: readonly string[]) => all.map((value) => [value, value] as const);

export function toolbar(
  view: View,
  overlays: Record<"?" | "e", HTMLDialogElement>,
  status: HTMLElement,
): HTMLElement {
  const { store, select } = view;
  const model = h("strong");
  const stackName = h("span");
  const stack = chooser("stack", "Which stack of attention layers is shown", (v) => {
    store.stack.value = v;
  });
  const example = chooser("text", "Which text of the batch is shown", (v) => {
    store.batch.value = Number(v);
  });
  const layer = stepper("layer", "{}", (by) => select.step(by, 0));
  const head = stepper("head", "[]", (by) => select.step(0, by));
  const ask = iconButton("?", "Help: keys and mouse, key ?", "step");
  on(ask, "click", () => overlays["?"].showModal());
  const figure = h("button", { className: "outlined", title: "Figure and numbers, key e" }, "figure");
  on(figure, "click", () => overlays.e.showModal());

  view.disposers.push(
    effect(() => {
      const { stacks, model: name } = store.meta.value;
      const { stack: shown, batch } = store.shown.value;
      model.textContent = model.title = name;
      stackName.textContent = stacks.length > 1 ? "" : shown.name;
      stack.update(plain(stacks.map((s) => s.name)), shown.name);
      example.update(
        shown.examples.map(({ queries }, i) => [String(i), `${i}: ${preview(queries)}`]),
        String(batch),
      );
    }),
    effect(() => {
      const { layers, heads, kept_layers, kept_heads, measure } = store.shown.value.stack;
      layer.update(store.lockedHead.value.layer, layers, kept_layers);
      head.update(store.lockedHead.value.head, heads, kept_heads);
      head.element.hidden = Boolean(measure?.whole);
    }),
  );
  return h(
    "header",
    {},
    h("div", {}, model, stackName, stack.element, layer.element, head.element, example.element, status),
    h(
      "div",
      { className: "controls" },
      made(view, (kit) => kit.lensControls(view)),
      made(view, (kit) => kit.findField(view)),
      panelMenu(view),
      figure,
      ask,
    ),
  );
}
