/** The heatmaps of two captures and of their difference, side by side: one window, one selection. */

import { colourAt } from "../colour";
import { differenceView, sideView } from "../compare";
import { h } from "../dom";
import { dots, formatEnd } from "../format";
import { STOPS } from "../legend";
import type { View } from "../view";
import { heatmap } from "./heatmap";
import type { Panel } from "./panel";

export function compared(view: View, names: readonly [string, string]): Pick<Panel, "element" | "dispose"> {
  const [a, b] = names;
  const apart = differenceView(view, names);
  const third = heatmap(apart, `${b} − ${a}`);
  const bar = h("span", { className: "bar" });
  const [low, high] = [h("bdi"), h("bdi")];
  third.body.after(h("div", { className: "apart" }, low, bar, high));
  third.painting(() => {
    const { head, ramp } = apart.picture.value;
    const { range, map, dark } = ramp;
    const top = formatEnd(range[1]);
    low.textContent = `−${top}, more in ${a}`;
    const clipped = head && head.max > range[1] * 1.01 ? `clipped, up to ±${formatEnd(head.max)}` : "";
    high.textContent = dots(`${top}, more in ${b}`, clipped, apart.pooling.value);
    const colours = Array.from({ length: STOPS + 1 }, (_, i) => `rgb(${colourAt(i / STOPS, map, dark)})`);
    bar.style.setProperty("--ramp", String(colours));
  });
  const panels = [...names.map((name) => heatmap(sideView(view, name), name)), third];
  return {
    element: h("div", { className: "compared" }, ...panels.map(({ element }) => element)),
    dispose() {
      for (const panel of panels) panel.dispose();
    },
  };
}
