/** Legend, readout and lock: everything that says what the colours and numbers mean. */

import { colourAt, weightAt } from "./colour";
import { h } from "./dom";
import { formatCell, formatEnd } from "./format";
import { on } from "./pointing";
import { effect } from "./signals";
import { sameHead } from "./state";
import type { View } from "./view";

const STOPS = 24;

export function legend(view: View): HTMLElement {
  const bar = h("span", { className: "bar" });
  const above = h("span", { className: "above" });
  const ends = [h("span"), h("span"), h("span")];
  const words = h("span");
  const masked = h("span", {}, h("i"), "not allowed by the mask");
  view.disposers.push(
    effect(() => {
      const { ramp, head } = view.picture.value;
      const { range, scale, map, dark } = ramp;
      const colours = Array.from({ length: STOPS + 1 }, (_, i) => `rgb(${colourAt(i / STOPS, map, dark)})`);
      bar.style.background = `linear-gradient(90deg, ${colours})`;
      ends.forEach((end, i) => {
        const weight = formatEnd(weightAt(i / 2, scale, range));
        end.textContent = i === 0 && scale === "log" ? `≤ ${weight}` : weight;
      });
      const max = formatEnd(head?.max ?? 0);
      const top = formatEnd(range[1]);
      above.hidden = !head || head.max <= range[1] * 1.01;
      above.style.background = colours[STOPS]!;
      above.title = `Weights above ${top} share the last colour; the largest is ${max}.`;
      words.textContent = [
        view.store.shownHead.value.aggregate ? view.headWords.value : "",
        `weight, ${scale} scale`,
        `${view.store.domain.value ? "fixed range" : view.store.shownHead.value.aggregate ? "range of these heads" : "range of this head"} ${formatEnd(range[0])} – ${top}`,
        above.hidden ? "" : `clipped above, up to ${max}`,
        view.pooling.value,
      ]
        .filter(Boolean)
        .join(" · ");
      masked.hidden = !head?.masked;
    }),
  );
  return h(
    "div",
    { className: "legend" },
    h("div", {}, h("div", { className: "strip" }, bar, above), h("div", { className: "ends" }, ...ends)),
    words,
    masked,
  );
}

/** The pair in focus, in words and as a number; what a live region and the eye both read. */
export function sentence(view: View): { who: string; value: string; how: string } {
  const { store, source } = view;
  const { query, key } = store.focus.value;
  const who = view.name({ query, key });
  if (query === null || key === null) return { who, value: "", how: "" };
  const cell = source.cell(store.shownHead.value, query, key);
  const number = cell !== null && cell.value >= 0;
  return {
    who,
    value: formatCell(cell?.value, cell?.exact ?? false),
    how: number ? (cell.exact ? "exact" : "read from the colours") : "",
  };
}

export function readout(view: View): HTMLElement {
  const { store, select } = view;
  const head = h("span");
  const who = h("bdi");
  const value = h("strong");
  const how = h("span");
  const lock = h("button", { className: "lock", title: "Release the lock, key Esc" });
  on(lock, "click", () => select.release());
  view.disposers.push(
    effect(() => {
      const said = sentence(view);
      const preview = store.hoverHead.value && !sameHead(store.shownHead.value, store.lockedHead.value);
      head.textContent = view.headWords.value + (preview ? ", preview" : "");
      who.textContent = who.title = said.who || "point at a cell or a token";
      who.classList.toggle("idle", !said.who);
      value.textContent = said.value;
      how.textContent = said.how;
      const words = view.name(store.locked.value);
      lock.hidden = !words;
      lock.textContent = `✕ locked: ${words}`;
    }),
  );
  return h("div", { className: "readout" }, head, who, value, how, lock);
}
