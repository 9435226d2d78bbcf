/** What the connection is like, and what went wrong. */

import { attr, h, iconButton } from "./dom";
import { on } from "./pointing";
import { answers, type Link } from "./rpc";
import { effect, type ReadonlySignal } from "./signals";
import type { View } from "./view";

const WORDS: Record<Link, [string, string]> = {
  live: ["live", "The kernel answers."],
  busy: ["kernel busy", "The kernel is running something else. What is here stays usable; the rest follows."],
  static: [
    "no kernel",
    "Shown from what is stored here. The rest needs a running kernel: run the cell again.",
  ],
  gone: [
    "kernel gone",
    "The kernel was restarted or has died. What is here stays usable; run the cell again for the rest.",
  ],
};

export function statusBadge(view: View): HTMLElement {
  const words = h("span");
  const badge = h("span", { className: "status", role: "status" }, h("i"), words);
  const missing = h("span", { role: "status" }, "some of what is in sight needs a kernel");
  const bar = h("i", { className: "progress", role: "progressbar", aria: { label: "refining" } });
  view.disposers.push(
    effect(() => {
      const link = view.source.link.value;
      badge.dataset.link = link;
      [words.textContent, badge.title] = WORDS[link];
      missing.hidden = answers(view.source) || !view.missing.value;
    }),
    effect(() => {
      const done = view.progress.value;
      bar.hidden = done === null;
      const percent = String(Math.floor((done ?? 0) * 100));
      attr(bar, "aria-valuenow", percent);
      bar.title = `refining: ${percent} %`;
      bar.style.setProperty("--done", `${percent}%`);
    }),
  );
  return h("div", {}, bar, missing, badge);
}

/** A bar that stays until the problem is gone or dismissed. */
export function problemBar(view: View): HTMLElement {
  const words = h("span");
  const retry = h("button", {}, "Try again");
  const close = iconButton("✕", "Hide this message");
  const bar = h("div", { className: "problem", role: "alert" }, words, retry, close);
  on(retry, "click", () => view.source.retry());
  on(close, "click", () => {
    view.source.problem.value = null;
  });
  view.disposers.push(
    effect(() => {
      bar.hidden = view.source.problem.value === null;
      words.textContent = view.source.problem.value ?? "";
    }),
  );
  return bar;
}

/** A message in the place of the whole view. */
export function wall(text: string): HTMLElement {
  return h("p", { className: "wall", role: "alert" }, text);
}

/** One short text, said politely whenever it changes and has stayed for a moment. */
export function liveRegion(view: View, text: ReadonlySignal<string>): HTMLElement {
  const region = h("div", { className: "hidden", aria: { live: "polite" } });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const next = text.value;
    clearTimeout(timer);
    timer = setTimeout(() => {
      region.textContent = next;
    }, 300);
  });
  view.disposers.push(() => {
    clearTimeout(timer);
    stop();
  });
  return region;
}
