/** Which heads are drawn together: a square for each head of the layer, and whether they are drawn as one. */
import { headColour } from "../colour";
import { attr, h } from "../dom";
import { ARROWS, on } from "../pointing";
import { AGGREGATES, OVER, type Over, type Reduce } from "../protocol";
import { batch, effect } from "../signals";
import { chooser } from "../toolbar";
import type { View } from "../view";
import type { Panel } from "./panel";

const LABEL =
  "Heads of this layer. Arrows move, Space draws a head or not, Enter draws it alone, or all again.";

export function headToggles(view: View, panel: Panel): HTMLElement[] {
  const { store, select } = view;
  const squares = h("div", { className: "heads", role: "toolbar", aria: { label: LABEL } });
  const buttons: HTMLButtonElement[] = [];
  /** The one square that Tab stops at. */
  let stop = 0;
  const stopAt = (head: number) => {
    stop = head;
    buttons.forEach((button, i) => {
      button.tabIndex = i === stop ? 0 : -1;
    });
  };
  const headOf = (event: Event) => buttons.indexOf(event.target as HTMLButtonElement);
  on(squares, "focusin", (event) => stopAt(headOf(event)));
  on(squares, "click", (event) => {
    if (headOf(event) >= 0) select.toggleHead(headOf(event));
  });
  on(squares, "dblclick", (event) => {
    if (headOf(event) >= 0) select.isolateHead(headOf(event));
  });
  on(squares, "keydown", (event) => {
    const by = ARROWS[event.key];
    if (by) buttons[stop + by[0] + by[1]]?.focus();
    else if (event.key === "Enter") select.isolateHead(headOf(event));
    else return;
    event.preventDefault();
  });

  const asOne = chooser(
    "draw",
    "Each head with lines of its own, or many as one: those selected, all of the layer, all of all layers",
    (value) => {
      const [reduce, over] = value.split(" ") as [Reduce, Over];
      batch(() => {
        store.aggregate.value = over ? reduce : null;
        if (over) store.over.value = over;
      });
    },
  );

  const follow = () => {
    const { stack } = store.shown.value;
    const { layer, head: current } = store.lockedHead.value;
    const active = store.active.value;
    const dark = view.dark.value;
    while (buttons.length < stack.heads) squares.append(buttons[buttons.push(h("button")) - 1]!);
    for (const button of buttons.splice(stack.heads)) button.remove();
    buttons.forEach((button, head) => {
      const drawn = active.includes(head);
      button.style.setProperty("--hue", headColour(head, dark));
      attr(button, "aria-pressed", String(drawn));
      attr(button, "aria-label", `head ${head}`);
      attr(button, "aria-current", head === current ? "true" : null);
      button.title = `head ${head}: click draws it or not, double click draws it alone, or all again`;
    });
    stopAt(Math.min(stop, stack.heads - 1));
    const aggregate = store.aggregate.value;
    // A layer as a whole is one head.
    const whole = stack.measure?.whole;
    const which = { heads: "selected", layer: `layer ${layer}`, layers: "all layers" };
    asOne.update(
      [
        ["each", whole ? "each layer" : "each head"],
        ...OVER.slice(whole ? -1 : 0).flatMap((one) =>
          AGGREGATES.map((how) => [`${how} ${one}`, `${how}, ${which[one]}`] as const),
        ),
      ],
      aggregate ? `${aggregate} ${store.over.value}` : "each",
    );
    asOne.element.hidden = stack.heads * stack.layers < 2;
    squares.hidden = stack.heads < 2;
  };
  panel.onDispose(effect(follow));
  return [squares, asOne.element];
}
