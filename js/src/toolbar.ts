/** The controls: which head, and how it is drawn. */

import { attr, h, iconButton } from "./dom";
import { rangeInSight } from "./domain";
import { findField } from "./find";
import { formatEnd } from "./format";
import { on } from "./pointing";
import { COLORMAPS, type Colormap, SCALES, type Scale } from "./protocol";
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

const plain = (all: readonly string[]) => all.map((value) => [value, value] as const);

export function toolbar(view: View, help: () => void, status: HTMLElement): HTMLElement {
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
  const scale = chooser("scale", "How a weight becomes a place on the colour map", (v) => {
    store.scale.value = v as Scale;
  });
  const ends =
    "The weights at the two ends of the colour map: per head, fitted to what is in sight, or fixed";
  const range = chooser("range", ends, (v) => {
    store.domain.value =
      v === "auto"
        ? null
        : v === "sight"
          ? rangeInSight(view.sight.value, store.visible.value)
          : (v.split(",").map(Number) as [number, number]);
  });
  const map = chooser("colours", "The colour map: all are perceptual and colour-blind safe", (v) => {
    store.colormap.value = v as Colormap;
  });
  const slider = h("input", { type: "range", min: "0", max: "1", step: "0.005" });
  const number = h("strong");
  // The slider is quadratic: most weights are small, and so are the thresholds that tell them apart.
  on(slider, "input", () => {
    store.draft.value = Number((slider.valueAsNumber ** 2).toPrecision(2));
  });
  on(slider, "change", () => {
    store.threshold.value = store.cut.value;
    store.draft.value = null;
  });
  const threshold = h(
    "label",
    { title: "Lines under this weight are not drawn" },
    h("span", {}, "lines ≥"),
    slider,
    number,
  );
  const ask = iconButton("?", "Help: keys and mouse, key ?", "step");
  on(ask, "click", help);

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
      const { layers, heads, kept_layers, kept_heads } = store.shown.value.stack;
      layer.update(store.lockedHead.value.layer, layers, kept_layers);
      head.update(store.lockedHead.value.head, heads, kept_heads);
    }),
    effect(() => {
      const domain = store.domain.value;
      const value = domain ? domain.join() : "auto";
      const choices: [string, string][] = [
        ["auto", "auto"],
        ["0,1", "0 – 1"],
        ["sight", "fit to sight"],
      ];
      if (domain && value !== "0,1") choices.push([value, domain.map(formatEnd).join(" – ")]);
      range.update(choices, value);
      scale.update(plain(SCALES), store.scale.value);
      map.update(plain(COLORMAPS), store.colormap.value);
    }),
    effect(() => {
      threshold.hidden = !store.panels.value.includes("lines");
      number.textContent = formatEnd(store.cut.value);
      attr(slider, "aria-valuetext", number.textContent);
      if (store.draft.value === null) slider.value = String(Math.sqrt(store.threshold.value));
    }),
  );
  return h(
    "header",
    {},
    h("div", {}, model, stackName, stack.element, layer.element, head.element, example.element, status),
    h(
      "div",
      { className: "controls" },
      threshold,
      scale.element,
      range.element,
      map.element,
      findField(view),
      ask,
    ),
  );
}
