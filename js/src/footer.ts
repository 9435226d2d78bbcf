/** Readout and lock: what is in focus, and its number. */

import { plain } from "./datasource";
import { attr, h } from "./dom";
import { dots, formatCell, formatSigned } from "./format";
import { made } from "./kit";
import { isHidden } from "./lens";
import { on } from "./pointing";
import { effect } from "./signals";
import { sameHead } from "./state";
import { sidesOf, type View } from "./view";

/** The pair in focus, in words and as a number; what a live region and the eye both read. */
export function sentence(view: View): { who: string; value: string; how: string } {
  const { store, source } = view;
  const { query, key } = store.focus.value;
  const who = view.name({ query, key });
  if (query === null || key === null) return { who, value: "", how: "" };
  const sides = store.meta.value.compare;
  if (sides) return { who, ...comparison(view, sides, query, key) };
  const cell = source.cell(store.shownHead.value, query, key);
  const number = cell !== null && cell.value >= 0;
  const reading = store.reading.value;
  const weight =
    reading.kind === "lift" && number ? source.cell(plain(store.shownHead.value), query, key) : null;
  return {
    who,
    value: isHidden(view, key) ? "hidden" : formatCell(cell?.value, cell?.exact ?? false, reading),
    how: dots(
      number ? (cell.exact ? "exact" : "read from the colours") : "",
      weight ? `weight ${formatCell(weight.value, weight.exact)}` : "",
    ),
  };
}

/** What both sides give a pair, and the second less the first. */
function comparison({ store, source, owners }: View, sides: readonly string[], query: number, key: number) {
  const lacked = [owners.value.queries[query], owners.value.keys[key]];
  const cells = sidesOf(store, plain(store.shownHead.value)).map((ref) => source.cell(ref, query, key));
  const lacks = (name: string) => lacked.some((owner) => owner && owner !== name);
  const words = sides.map((name, i) => {
    const cell = cells[i];
    return `${name} ${lacks(name) ? "has no such pair" : formatCell(cell?.value, cell?.exact ?? false)}`;
  });
  const exact = cells.every((cell) => cell?.exact);
  // Of pooled cells only the largest weights are here, and not from the same pair.
  const single = cells.every((cell) => cell && (cell.exact || cell.cells === 1) && !(cell.value < 0));
  const [a, b] = cells.map((cell) => cell?.value || 0);
  const allowed = cells.some((cell) => cell && !Number.isNaN(cell.value));
  const by = b! - a!;
  const number = `${exact ? "" : "≈ "}${by > 0 ? "+" : ""}${formatSigned(by)}`;
  const shared = !sides.some(lacks);
  return {
    value: dots(...words, single && allowed && shared ? `${sides[1]} − ${sides[0]} ${number}` : ""),
    how: single ? (exact ? "exact" : "read from the colours") : "",
  };
}

export function readout(view: View): HTMLElement {
  const { store, select } = view;
  const head = h("span");
  const facts = h("span");
  const who = h("bdi");
  const value = h("strong");
  const how = h("span");
  const lock = h("button", { className: "lock", title: "Release the lock, key Esc" });
  on(lock, "click", () => select.release());
  const title = "q · k: scores and query-key detail, key d";
  const explain = h("button", { className: "explain", title, aria: { label: title } }, "q · k");
  on(explain, "click", () => select.togglePanel("detail"));
  view.disposers.push(
    effect(() => {
      const said = sentence(view);
      const preview = store.hoverHead.value && !sameHead(store.shownHead.value, store.lockedHead.value);
      head.textContent = view.headWords.value + (preview ? ", preview" : "");
      facts.textContent = store.shownHead.value.aggregate ? "" : view.finder.facts(store.shownHead.value);
      who.textContent = who.title = said.who || "point at a cell or a token";
      who.classList.toggle("idle", !said.who);
      value.textContent = said.value;
      how.textContent = said.how;
      const words = view.name(store.locked.value);
      lock.hidden = !words;
      lock.textContent = `✕ locked: ${words}`;
    }),
    effect(() => {
      const { value: panels } = store.panels;
      const shown = panels.includes("detail");
      attr(explain, "aria-pressed", String(shown));
      explain.disabled = shown && panels.length === 1;
    }),
  );
  return h(
    "div",
    { className: "readout" },
    head,
    facts,
    who,
    value,
    how,
    explain,
    made(view, (kit) => kit.hideButton(view)),
    lock,
  );
}
