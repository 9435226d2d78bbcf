/** The strongest keys of the focused query (or queries of the key), each a button that locks the pair. */

import { attr, h } from "../dom";
import { singleCelled } from "../edges";
import { formatCell, formatEnd } from "../format";
import { on } from "../pointing";
import type { Line } from "../source";
import type { Pair, Shown } from "../state";
import { strongest } from "../strongest";
import type { View } from "../view";
import type { Panel } from "./panel";

export const TOP = 5;

interface Target {
  side: "query" | "key";
  index: number;
  shown: Shown;
}

export function topKeys(view: View, panel: Panel): HTMLElement {
  const { store, source, select } = view;
  const who = h("span", {});
  const rest = h("span");
  const buttons = Array.from({ length: TOP }, () =>
    h("button", { hidden: true }, h("span"), h("bdi"), h("strong")),
  );
  const element = h(
    "div",
    { className: "topkeys", role: "group", aria: { label: "strongest" } },
    who,
    ...buttons,
    rest,
  );
  /** The pair that this row itself has focused: the row does not change under the pointer for it. */
  let own: Pair | null = null;
  let target: Target | null = null;
  let found: number[] = [];
  let foundIn: Float32Array | null = null;

  const pairWith = (other: number): Pair =>
    target?.side === "query" ? { query: target.index, key: other } : { query: other, key: target!.index };
  buttons.forEach((button, nth) => {
    const hover = () => {
      own = pairWith(found[nth]!);
      select.hover(own, "text");
    };
    on(button, "pointerenter", hover);
    on(button, "focus", hover);
    on(button, "click", () => {
      const pair = pairWith(found[nth]!);
      select.lock(pair);
      select.reveal(pair);
    });
  });
  for (const end of ["pointerleave", "focusout"] as const) on(element, end, () => select.hover(null, "text"));

  /**
   * The focused token, as the direction reads it; the last one where nothing is focused any more, because on its way to a
   * button the pointer leaves the token it came from.
   */
  const aim = (): Target | null => {
    const { query, key } = store.focus.value;
    const shown = store.shown.value;
    const fromQuery = query !== null && (key === null || store.direction.value === "from");
    const next = fromQuery
      ? { side: "query" as const, index: query, shown }
      : key !== null
        ? { side: "key" as const, index: key, shown }
        : null;
    if (target && target.shown !== shown) return next;
    return own && query === own.query && key === own.key ? target : (next ?? target);
  };

  panel.painting(() => {
    target = aim();
    const { queries, keys, rows, columns } = store.shown.value;
    const locked = store.locked.value;
    let line: Line | null = null;
    if (target) {
      const head = store.shownHead.value;
      line = target.side === "query" ? source.row(head, target.index) : source.column(head, target.index);
    }
    // Of pooled cells nobody knows which of their tokens is the strong one.
    if (line && !line.exact && !singleCelled(view.picture.value.tile, queries, keys)) line = null;
    if (line?.values !== foundIn) found = line ? strongest(line.values, TOP) : [];
    foundIn = line?.values ?? null;
    const others = target?.side === "query" ? "keys" : "queries";
    const labels = target?.side === "query" ? columns.labels : rows.labels;
    buttons.forEach((button, nth) => {
      const index = found[nth];
      button.hidden = index === undefined;
      if (index === undefined) return;
      const [at, label, weight] = button.children as unknown as [Element, Element, Element];
      at.textContent = String(index);
      label.textContent = labels[index]!;
      weight.textContent = formatCell(line!.values[index], line!.exact);
      button.title = `${view.name(pairWith(index))}: ${weight.textContent}. Locks the pair.`;
      attr(button, "aria-label", button.title);
      const pair = pairWith(index);
      attr(button, "aria-pressed", String(pair.query === locked.query && pair.key === locked.key));
    });
    who.textContent = target
      ? `strongest ${others} of ${target.side} ${target.index}`
      : "strongest keys: point at a token";
    rest.textContent = !target ? "" : line ? summary(line, found, others) : waiting(view);
  });
  return element;
}

function summary({ values, exact }: Line, found: readonly number[], others: string): string {
  if (!found.length)
    return values.every(Number.isNaN) ? `the mask allows no ${others}` : "no weight above 0 is known";
  const sum = found.reduce((all, i) => all + values[i]!, 0);
  return exact && others === "keys" ? `together ${formatEnd(sum)}` : "";
}

const waiting = ({ source }: View) =>
  source.link.value === "live" || source.link.value === "busy"
    ? "once the exact weights are here"
    : "need a running kernel";
