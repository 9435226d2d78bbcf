/** The overlay that names every key and gesture. */
import { h } from "./dom";
import { on } from "./pointing";

const LINES: readonly (readonly [string, string])[] = [
  ["hover", "shows a head, a cell or a token in every panel"],
  ["click", "locks it; the same click again releases"],
  ["Esc", "releases the lock"],
  ["[ ]", "previous, next head"],
  ["{ }", "previous, next layer"],
  ["arrows", "move inside the panel that has the focus"],
  ["Shift + arrows", "move by a tenth"],
  ["Enter, Space", "lock what the arrows are on"],
  ["Tab", "to the next panel or control"],
  ["?", "this help"],
];

export interface Help {
  element: HTMLElement;
  toggle(): void;
  /** Whether it was open. */
  close(): boolean;
}

export function help(): Help {
  const close = h("button", { title: "Close, key Esc" }, "✕");
  const list = h("dl", {}, ...LINES.flatMap(([key, what]) => [h("dt", {}, key), h("dd", {}, what)]));
  const element = h(
    "div",
    { className: "overlay", hidden: true, role: "dialog", tabIndex: -1, aria: { label: "Keys and mouse" } },
    h("div", { className: "sheet" }, h("h3", {}, "Keys and mouse", close), list),
  );
  let before: HTMLElement | null = null;
  const shut = () => {
    const open = !element.hidden;
    element.hidden = true;
    if (open) before?.focus();
    return open;
  };
  on(close, "click", shut);
  on(element, "click", (event) => {
    if (event.target === element) shut();
  });
  return {
    element,
    close: shut,
    toggle() {
      if (shut()) return;
      before = (element.getRootNode() as ShadowRoot).activeElement as HTMLElement | null;
      element.hidden = false;
      close.focus();
    },
  };
}
