/** Parts of one text as spans: gaps as they stand, tokens that can be pointed at, marks for what does not show. */
import { attr, h } from "../dom";
import type { Range } from "../protocol";
import type { Words } from "../state";
import { visible } from "../tokens";
import { holds } from "./textparts";

export interface TextView {
  element: HTMLElement;
  /** The tokens laid out, in order, and their places in the text. */
  spans: readonly HTMLElement[];
  indices: readonly number[];
  parts: readonly Range[];
  /** What each span shows now, kept by whoever shades them: asking the DOM is slow. */
  looks: string[];
  /** Lays out other parts; the keyboard stays on its token, or goes to the nearest that is left. */
  lay(parts: readonly Range[]): void;
  /** The token under an event, or null. */
  indexOf(event: Event): number | null;
  /** The token a mark for tokens left out leads to, if the event is on one. */
  leadsTo(event: Event): number | null;
  /** Moves the keyboard to a token; false if it is not laid out. */
  focus(index: number): boolean;
  /** Scrolls inside its own box, never the page. */
  reveal(index: number | null, toTop?: boolean): void;
}

export function textView({ tokens, labels }: Words, name: string): TextView {
  const n = labels.length;
  const pair = tokens.segment.includes(1);
  const flow = h("p", { dir: "auto" });
  const element = h("div", { className: "text", role: "group", aria: { label: name || "text" } }, name, flow);
  let spans: HTMLElement[] = [];
  let indices: number[] = [];
  let reachable: HTMLElement | undefined;

  const spanOf = (index: number): HTMLElement | undefined => {
    let before = 0;
    for (const [a, b] of view.parts) {
      if (index >= a && index < b) return spans[before + index - a];
      before += b - a;
    }
    return undefined;
  };
  const reach = (span: HTMLElement | undefined) => {
    if (reachable) reachable.tabIndex = -1;
    reachable = span;
    if (span) span.tabIndex = 0;
  };
  /** `to` is the token that reading goes on with. */
  const leftOut = (a: number, b: number, to: number) =>
    h(
      "button",
      { className: "cut", title: `Show the text around token ${to}`, data: { to: String(to) } },
      `… tokens ${a} to ${b} left out …`,
    );
  const tokenSpan = (i: number): HTMLElement => {
    const special = tokens.special[i] === 1;
    const text = tokens.text[i]!;
    // What reads as text stays as it is; what would not show, or is not text, takes its label.
    const plain = text !== "" && !special && labels[i] === text && visible(text) === text;
    return h("span", {
      className: special ? "token special" : plain ? "token" : "token mark",
      title: `${i} "${labels[i]}"`,
      role: "button",
      tabIndex: -1,
      textContent: labels[i]!,
      data: { index: String(i) },
    });
  };

  const view: TextView = {
    element,
    parts: [],
    looks: [],
    get spans() {
      return spans;
    },
    get indices() {
      return indices;
    },
    lay(parts) {
      const active = (element.getRootNode() as ShadowRoot | Document).activeElement;
      const had =
        active && flow.contains(active) ? Number((active as HTMLElement).dataset.index ?? Number.NaN) : null;
      const at = had ?? Number(reachable?.dataset.index ?? 0);
      view.parts = parts;
      view.looks = [];
      spans = [];
      indices = [];
      const content: (Node | string)[] = [];
      let segment = -1;
      let end = 0;
      for (const [from, to] of parts) {
        if (from > end) content.push(leftOut(end, from - 1, end ? end : from - 1));
        for (let i = from; i < to; i++) {
          if (pair && !tokens.special[i] && tokens.segment[i] !== segment) {
            segment = tokens.segment[i]!;
            const title = `${segment ? "second" : "first"} text of the pair`;
            content.push(h("span", { className: "segment", title }, segment ? "B" : "A"));
          }
          content.push(tokens.gap[i]!);
          const span = tokenSpan(i);
          spans.push(span);
          indices.push(i);
          content.push(span);
          if (tokens.text[i]!.includes("\n")) content.push(h("br"));
        }
        end = to;
      }
      if (end < n) content.push(leftOut(end, n - 1, end));
      flow.replaceChildren(...content);
      const near = (i: number) =>
        indices.reduce((best, j) => (Math.abs(j - i) < Math.abs(best - i) ? j : best), indices[0] ?? 0);
      reach(spanOf(holds(parts, at) ? at : near(at || 0)));
      if (had !== null) reachable?.focus({ preventScroll: true });
    },
    indexOf(event) {
      const { index } = (event.target as HTMLElement).dataset;
      return index === undefined ? null : Number(index);
    },
    leadsTo(event) {
      const { to } = (event.target as HTMLElement).dataset;
      return to === undefined ? null : Number(to);
    },
    focus(index) {
      const span = spanOf(index);
      if (span) {
        reach(span);
        span.focus();
      }
      return span !== undefined;
    },
    reveal(index, toTop) {
      const span = index === null ? undefined : spanOf(index);
      if (!span) return;
      const y = span.offsetTop;
      if (toTop) element.scrollTop = y;
      else if (y < element.scrollTop || y + span.offsetHeight > element.scrollTop + element.clientHeight)
        element.scrollTop = y - element.clientHeight / 2;
    },
  };
  attr(element, "data-tokens", String(n));
  return view;
}
