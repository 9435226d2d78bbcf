/** The legend: what the colours mean, how many cells have them, and every control that changes them. */
import { decodeTable } from "./codes";
import { colourAt, positions, weightAt } from "./colour";
import { count } from "./counts";
import { h, iconButton } from "./dom";
import { cutToSight, rangeInSight } from "./domain";
import { dots, formatEnd } from "./format";
import { made } from "./kit";
import { hiddenKeys, lensNotes } from "./lens";
import { on } from "./pointing";
import {
  CODE_FIRST,
  CODE_MASKED,
  CODE_MAX_U8,
  CODE_MISSING,
  CODE_ZERO,
  COLORMAPS,
  type Colormap,
  DIVERGING,
  type Diverging,
  SCALES,
  type Scale,
} from "./protocol";
import { asDomain } from "./ramp";
import { rangeEnds } from "./rangeends";
import { computed, effect } from "./signals";
import { palette } from "./theme";
import { chooser, plain } from "./toolbar";
import type { View } from "./view";

export const STOPS = 24;
const BINS = 48;

export function legend(view: View): HTMLElement {
  const { store } = view;
  const shape = h("div", {
    className: "histogram",
    title: "How many cells in sight have each colour; heights grow with the logarithm",
  });
  const bar = h("span", { className: "bar" });
  const above = h("span", { className: "above" });
  const numbers = [h("span"), h("span"), h("span")];
  const words = h("span", { className: "words" });
  const swatch = (text: string) => h("span", { className: "swatch" }, h("i"), text);
  const [zero, masked, missing] = [swatch("zero"), swatch("not allowed by the mask"), swatch("not known")];
  const ends = rangeEnds(view);
  const reset = iconButton("auto", "Back to the range of each head", "auto");
  on(reset, "click", () => {
    store.domain.value = null;
  });

  let last = new Uint32Array(CODE_MAX_U8 + 1);
  /** Cells in sight by code. A gesture keeps the counts that it began with. */
  const counts = computed(() => {
    if (store.draftWindow.value) return last;
    const cut = cutToSight(view.sight.value, store.visible.value);
    last = new Uint32Array((cut[0]?.max ?? CODE_MAX_U8) + 1);
    for (const tile of cut) count(tile, last);
    return last;
  });

  view.disposers.push(
    effect(() => {
      const { ramp, head } = view.picture.value;
      const { scale, map, dark } = ramp;
      const axis = ends.axis.value;
      const [low, high] = ramp.range;
      const { kind, of } = store.reading.value;
      const told = store.shown.value.stack.measure;
      const place = positions(ramp);
      const at = (t: number) => weightAt(t, axis);
      const colours = Array.from(
        { length: STOPS + 1 },
        (_, i) => `rgb(${colourAt(axis === ramp ? i / STOPS : place(at(i / STOPS)), map, dark)})`,
      );
      bar.style.setProperty("--ramp", String(colours));
      numbers.forEach((number, i) => {
        const weight = i === 0 ? axis.range[0] || at(0) : i === 2 ? axis.range[1] : at(0.5);
        const text = formatEnd(of(weight));
        number.textContent = i === 0 && scale === "log" ? `≤ ${text}` : text;
      });
      const clipped = head !== null && head.max > high * 1.01;
      above.hidden = !clipped;
      above.style.background = colours[STOPS]!;
      const fixed = store.range.value !== null;
      const many = store.shownHead.value.aggregate;
      words.textContent = dots(
        many ? view.headWords.value : "",
        kind === "lift"
          ? "lift over uniform, log scale: 1 = as much as by chance"
          : `${told?.words ?? "weight after softmax"}, ${scale} scale`,
        `${fixed ? "fixed range" : `range of ${store.meta.value.compare ? "both" : `${many ? "these" : "this"} ${told?.whole ? "layer" : "head"}${many ? "s" : ""}`}`} ${formatEnd(of(low))} ${told?.signed ? "to" : "–"} ${formatEnd(of(high))}`,
        clipped ? `clipped above, up to ${formatEnd(of(head.max))}` : "",
        view.pooling.value,
      );
      reset.hidden = !fixed;
      zero.style.setProperty("--fill", colours[0]!);
      missing.style.setProperty("--fill", `rgb(${palette(dark).missing})`);
    }),
    effect(() => {
      const found = counts.value;
      zero.hidden = !found[CODE_ZERO];
      masked.hidden = !found[CODE_MASKED];
      masked.lastChild!.textContent = `not allowed by the mask${hiddenKeys(view).length ? ", or hidden" : ""}${store.meta.value.compare ? ", or no such token" : ""}`;
      missing.hidden = !found[CODE_MISSING];
      shape.style.clipPath = outline(found, positions(ends.axis.value));
    }),
  );
  return h(
    "div",
    { className: "legend" },
    h(
      "div",
      { className: "key" },
      shape,
      h("div", { className: "strip" }, bar, above, ...ends.handles),
      h("div", { className: "ends" }, ...numbers),
    ),
    h("div", { className: "said" }, words, lensNotes(view), zero, masked, missing),
    h(
      "div",
      { className: "choices" },
      made(view, (kit) => kit.measureControl(view)),
      ...choosers(view),
      reset,
    ),
  );
}

/** The histogram as a shape under its bars, each a step of the bar below it. */
function outline(counts: Uint32Array, place: (weight: number) => number): string {
  const bins = new Float64Array(BINS);
  const weights = decodeTable(counts.length - 1);
  // So near in weight that they have one colour; placing each code for itself would take milliseconds.
  const near = counts.length >> 11 || 1;
  for (let code = CODE_FIRST; code < counts.length; code += near) {
    let sum = 0;
    for (let i = code; i < Math.min(code + near, counts.length); i++) sum += counts[i]!;
    const weight = weights[Math.min(code + (near >> 1), counts.length - 1)]!;
    if (sum) bins[Math.min(BINS - 1, Math.floor(place(weight) * BINS))]! += sum;
  }
  const top = Math.log1p(Math.max(...bins)) || 1;
  const points = [...bins].flatMap((n, i) => {
    const y = `${(100 - (100 * Math.log1p(n)) / top).toFixed(1)}%`;
    return [i, i + 1].map((x) => `${((100 * x) / BINS).toFixed(2)}% ${y}`);
  });
  return `polygon(0 100%,${points},100% 100%)`;
}

function choosers({ store, sight, disposers }: View): HTMLElement[] {
  const diverges = () => /lift|signed/.test(store.reading.value.kind);
  const scale = chooser(
    "scale",
    "How a weight becomes a place on the colour map; quantile: by its rank",
    (v) => {
      store.scale.value = v as Scale;
    },
  );
  const title = "The two ends of the colour map: per head, fitted to what is in sight, or fixed";
  const range = chooser("range", title, (v) => {
    const found = v === "sight" ? rangeInSight(sight.value, store.visible.value) : null;
    if (v === "sight" && !found) return;
    store.domain.value = found ? asDomain(store, found) : v === "full" ? [0, 1] : null;
  });
  const map = chooser("colours", "The colour map: all are perceptual and colour-blind safe", (v) => {
    if (diverges()) store.diverging.value = v as Diverging;
    else store.colormap.value = v as Colormap;
  });
  disposers.push(
    effect(() => {
      const weights = store.reading.value.kind === "weight";
      scale.update(diverges() ? [] : plain(SCALES), store.scale.value);
      const domain = store.domain.value;
      const full = weights && domain?.join() === "0,1";
      const choices: [string, string][] = [
        ["auto", "auto"],
        ["sight", "fit to sight"],
      ];
      if (weights) choices.push(["full", "fixed 0 – 1"]);
      if (domain && !full)
        choices.push(["fixed", `fixed ${domain.map((end) => formatEnd(end)).join(" – ")}`]);
      range.update(choices, full ? "full" : domain ? "fixed" : "auto");
      if (diverges()) map.update(plain(DIVERGING), store.diverging.value);
      else map.update(plain(COLORMAPS), store.colormap.value);
    }),
  );
  return [scale, range, map].map(({ element }) => element);
}
