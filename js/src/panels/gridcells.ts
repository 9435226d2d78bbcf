/** The grid by measures: heads as cells of one colour each, and the names of heads that stand in another order. */
import { hatch, textWidth } from "../canvas";
import { colourAt, inkOn, positions } from "../colour";
import { PAIR } from "../finder";
import { cornerOf, type GridGeometry, placeOf } from "../gridgeometry";
import { shorter } from "../headnumbers";
import { divergingMap } from "../ramp";
import type { HeadIndex } from "../state";
import { palette } from "../theme";
import type { View } from "../view";
import type { Seen } from "./gridmarks";

/** Narrower cells hold so few of the numbers that none is better. */
const LEAST_WRITTEN = 24;

/** Heads as cells of one colour each, with their numbers, shorter ones where two digits do not fit. */
export function drawCells(
  view: View,
  context: CanvasRenderingContext2D,
  g: GridGeometry,
  heads: readonly HeadIndex[],
  seen: Seen,
): void {
  const { store } = view;
  const { numbers, range } = view.finder.colour.value!;
  const dark = view.dark.value;
  const colours = palette(dark);
  const map = numbers.signed ? divergingMap(store, dark) : store.colormap.value;
  const position = positions({
    scale: store.colour_by.value === PAIR && !numbers.signed ? store.scale.value : "linear",
    range,
  });
  const masked = hatch(context, colours);
  context.textAlign = "center";
  for (const head of heads) {
    const { x, y } = cornerOf(g, placeOf(g, head), seen);
    const value = numbers.values[head.layer * store.shown.value.stack.heads + head.head]!;
    const known = Number.isFinite(value);
    const rgb = known ? colourAt(position(value), map, dark) : colours.missing;
    context.fillStyle = Number.isNaN(value) ? masked : `rgb(${rgb})`;
    context.fillRect(x, y, g.width, g.height);
    if (!known || g.height <= 11 || g.width < LEAST_WRITTEN) continue;
    context.fillStyle = inkOn(rgb);
    const text = shorter(numbers, value).find((each) => textWidth(context, each) < g.width);
    if (text) context.fillText(text, x + g.width / 2, y + g.height / 2 + 0.5);
  }
}

/** The names of heads in a flow, each above its picture. */
export function drawNames(
  view: View,
  context: CanvasRenderingContext2D,
  g: GridGeometry,
  heads: readonly HeadIndex[],
  seen: Seen,
): void {
  context.fillStyle = palette(view.dark.value).muted;
  context.textAlign = "left";
  for (const head of heads) {
    const { x, y } = cornerOf(g, placeOf(g, head), seen);
    context.fillText(`${head.layer}.${head.head}`, x, y - 6.5);
  }
}
