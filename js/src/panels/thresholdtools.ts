/** The threshold of lines and arcs, in the header of every panel that draws them: its kind, a slider and a number. */
import { attr, h } from "../dom";
import { formatEnd, formatShare } from "../format";
import { on } from "../pointing";
import { THRESHOLD_KINDS, type ThresholdKind } from "../protocol";
import { effect } from "../signals";
import { chooser } from "../toolbar";
import type { View } from "../view";
import type { Panel } from "./panel";

const NAMES: Record<ThresholdKind, [string, string]> = {
  weight: ["weights ≥", "What is under this number is not drawn"],
  mass: [
    "mass ≥",
    "Of each query's whole row the fewest strongest keys whose weights add up to this number are drawn: at least one, of equal " +
      "weights the first",
  ],
};

export function thresholdTools(view: View, panel: Panel): HTMLElement {
  const { store, passing } = view;
  const kind = chooser("keep", "What the threshold counts: single weights, or the mass of a row", (value) =>
    passing.choose(value as ThresholdKind),
  );
  const range = { min: "0", max: "1", aria: { label: "threshold" } };
  const slider = h("input", { type: "range", ...range, step: "0.005" });
  const number = h("input", { type: "number", ...range, step: "any" });
  // For weights the slider is quadratic: most are small, and so are the thresholds that tell them apart.
  const power = () =>
    store.threshold_kind.peek() === "weight" || store.reading.peek().kind !== "weight" ? 2 : 1;
  on(slider, "input", () => {
    store.draft.value = Number((slider.valueAsNumber ** power()).toPrecision(2));
  });
  on(slider, "change", () => {
    store.threshold.value = store.cut.value;
    store.draft.value = null;
  });
  on(number, "change", () => {
    const { of, share } = store.reading.value;
    const typed = share(number.valueAsNumber);
    if (typed >= 0 && typed <= 1) store.threshold.value = typed;
    number.value = formatEnd(of(passing.least.value));
  });
  const other = h("span");
  const element = h("div", { className: "tools" }, h("span", {}, kind.element, other, slider, number));
  panel.onDispose(
    effect(() => {
      const reading = store.reading.value;
      const weights = reading.kind === "weight";
      const chosen = weights ? store.threshold_kind.value : "weight";
      kind.update(weights ? THRESHOLD_KINDS.map((each) => [each, NAMES[each][0]]) : [], chosen);
      other.hidden = weights;
      other.textContent = reading.kind === "lift" ? "lift ≥" : "≥";
      number.value = formatEnd(reading.of(passing.least.value));
      number.max = String(reading.of(1));
      attr(slider, "aria-valuetext", formatShare(passing.least.value, reading));
      slider.title = number.title = NAMES[chosen][1];
      if (store.draft.value === null) slider.value = String(store.threshold.value ** (1 / power()));
    }),
  );
  return element;
}
