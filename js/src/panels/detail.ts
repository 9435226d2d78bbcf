/** Scores and query-key detail: how the weight of the pair in focus came about. */
import { fit, surface } from "../canvas";
import type { PairDetail } from "../datasource";
import { h } from "../dom";
import { formatSigned } from "../format";
import { moved, on, pointing } from "../pointing";
import { answers } from "../rpc";
import { signal } from "../signals";
import { palette } from "../theme";
import type { View } from "../view";
import { drawComponents, HEIGHT, placeAt } from "./components";
import type { Panel } from "./panel";

/** One component: its three numbers, and its share of q · k, which may be negative or above all of it. */
export function componentWords({ q, k, dot }: PairDetail, i: number): string {
  const term = q[i]! * k[i]!;
  const share = dot ? (100 * term) / dot : Number.NaN;
  const part = Number.isFinite(share) ? `, ${formatSigned(share)} % of q · k` : "";
  return `component ${i}: q ${formatSigned(q[i]!)} × k ${formatSigned(k[i]!)} = ${formatSigned(term)}${part}`;
}

export function detail(view: View, panel: Panel): void {
  const { store, source, frames } = view;
  const sort = h("button", { className: "outlined", title: "The order of the components" });
  panel.note.before(sort);
  on(sort, "click", () => {
    store.components.value = store.components.value === "size" ? "index" : "size";
  });
  const sum = h("p", { className: "sum" });
  const share = h("span");
  const words = h("span", { aria: { live: "polite" } });
  const chart = surface("detail", "base");
  const area = h(
    "div",
    { className: "stage", tabIndex: 0, role: "application", aria: { label: "Components, by arrow keys" } },
    chart.canvas,
  );
  const content = h("div", {}, sum, area, h("p", { className: "sum" }, share, words));
  const empty = h("p", { className: "empty", role: "status" });
  panel.body.append(content, empty);

  /** The place of a component in the order drawn, under the pointer or the keys. */
  const at = signal<number | null>(null);
  /** What is explained. It stays, dimmed, until the next pair has come. */
  const explained = signal<PairDetail | null>(null);

  panel.painting(() => {
    const { query, key } = store.focus.value;
    const { layer, head, aggregate } = store.shownHead.value;
    const both = query !== null && key !== null;
    const found = both ? source.pair(store.shownHead.value, query, key) : null;
    let why: string | null = null;
    if (!both) why = "Lock a query and a key to see how their weight came about.";
    else if (aggregate) why = "Scores, q and k belong to one head, and many are shown as one.";
    else if (found && "why" in found) why = found.why;
    else if (found) {
      if (found !== explained.peek()) {
        explained.value = found;
        panel.note.textContent = `layer ${layer} head ${head} · ${view.name({ query, key })}`;
        sum.replaceChildren(
          ...found.steps.map(([before, number, after]) =>
            h("span", {}, `${before} `, h("strong", {}, number), ` ${after}`),
          ),
        );
      }
    } else if (!answers(source)) why = "Scores, q and k need a running kernel.";
    else why = source.problem.value ?? (explained.peek() ? null : "Asking the kernel …");
    if (why) explained.value = at.value = null;
    content.hidden = sort.hidden = panel.note.hidden = why !== null;
    content.classList.toggle("waiting", !found);
    empty.textContent = why;
  });

  panel.painting(() => {
    const of = explained.value;
    if (!of) return;
    const { q, k } = of;
    const terms = q.map((value, i) => value * k[i]!);
    const order = Array.from(terms.keys());
    const bySize = store.components.value === "size";
    if (bySize) order.sort((a, b) => Math.abs(terms[b]!) - Math.abs(terms[a]!));
    const dark = view.dark.value;
    const place = at.value;
    fit(chart, panel.width.value, HEIGHT);
    drawComponents(chart.context, panel.width.value, { q, k, "q × k": terms }, order, palette(dark), dark, {
      at: place,
      few: bySize ? of.few : 0,
    });
    share.textContent = of.share;
    words.textContent = place === null ? "" : componentWords(of, order[place]!);
    sort.textContent = bySize ? "by size of q × k" : "in order";
  });

  const size = () => explained.peek()?.q.length ?? 0;
  const show = (place: number | null) => {
    at.value = place;
  };
  pointing<number>(area, frames, {
    at: ({ offsetX }) => placeAt(offsetX, panel.width.peek(), size()),
    hover: show,
    lock: show,
    arrow: (down, right, fast) => show(moved(at.peek(), down || right, size(), fast)),
    current: () => at.peek(),
  });
}
