/** One text as spans: gaps as they stand, tokens that can be pointed at, marks for what does not show. */
import { h } from "../dom";
import type { Words } from "../state";
import { visible } from "../tokens";

export interface TextView {
  element: HTMLElement;
  /** The tokens laid out, from `start` on. */
  spans: readonly HTMLElement[];
  start: number;
  /** What each span shows now, kept by whoever shades them: asking the DOM is slow. */
  looks: string[];
  indexOf(event: Event): number | null;
  /** Moves the keyboard to a token; null if there is none. */
  focus(index: number): number | null;
  /** Scrolls inside its own box, never the page. */
  reveal(index: number | null): void;
  covers(index: number): boolean;
}

/** Beyond this a window around the focused token is laid out: spans cost the browser too much. */
const MOST = 2000;

export function buildText({ tokens, labels }: Words, name: string, around: number): TextView {
  const n = labels.length;
  const start = Math.max(0, Math.min(n - MOST, around - MOST / 2));
  const end = Math.min(n, start + MOST);
  const spans: HTMLElement[] = [];
  const flow = h("p", { dir: "auto" });
  const leftOut = (a: number, b: number) => {
    if (b >= a) flow.append(h("span", { className: "cut" }, ` … tokens ${a} to ${b} left out … `));
  };
  let segment = -1;
  leftOut(0, start - 1);
  for (let i = start; i < end; i++) {
    const special = tokens.special[i] === 1;
    if (!special && tokens.segment[i] !== segment && tokens.segment.includes(1)) {
      segment = tokens.segment[i]!;
      const title = `${segment ? "second" : "first"} text of the pair`;
      flow.append(h("span", { className: "segment", title }, segment ? "B" : "A"));
    }
    flow.append(tokens.gap[i]!);
    const text = tokens.text[i]!;
    // What reads as text stays as it is; what would not show, or is not text, takes its label.
    const plain = text !== "" && !special && labels[i] === text && visible(text) === text;
    const span = h("span", {
      className: special ? "token special" : plain ? "token" : "token mark",
      title: `${i} "${labels[i]}"`,
      role: "button",
      tabIndex: i === start ? 0 : -1,
      textContent: labels[i]!,
      data: { index: String(i) },
    });
    spans.push(span);
    flow.append(span);
    if (text.includes("\n")) flow.append(h("br"));
  }
  leftOut(end, n - 1);
  const element = h("div", { className: "text", role: "group", aria: { label: name || "text" } }, name, flow);
  let reachable = spans[0];
  return {
    element,
    spans,
    start,
    looks: [],
    indexOf(event) {
      const index = (event.target as HTMLElement).dataset.index;
      return index === undefined ? null : Number(index);
    },
    focus(index) {
      const next = spans[index - start];
      if (!next) return null;
      if (reachable) reachable.tabIndex = -1;
      reachable = next;
      next.tabIndex = 0;
      next.focus();
      return index;
    },
    reveal(index) {
      const span = index === null ? undefined : spans[index - start];
      if (!span) return;
      const y = span.offsetTop;
      if (y < element.scrollTop || y + span.offsetHeight > element.scrollTop + element.clientHeight)
        element.scrollTop = y - element.clientHeight / 2;
    },
    covers: (index) => index >= start && index < end,
  };
}
