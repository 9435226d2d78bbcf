/** What the model says at the position in focus, and what matters for it. */
import { h } from "../dom";
import { outputs } from "../outputs";
import { on } from "../pointing";
import { answers } from "../rpc";
import type { View } from "../view";
import { candidateList } from "./candidates";
import { changes } from "./changes";
import type { Panel } from "./panel";

const KERNEL = "What the model says needs a running kernel.";
const NO_MODEL =
  "This view knows no model: model.show(text) makes one that says what comes next, and which heads matter for it.";

export function output(view: View, panel: Panel): void {
  const { store, source } = view;
  const asked = outputs(view, panel.onDispose);
  const list = candidateList(store);
  const empty = h("p", { className: "empty", role: "status" });
  const again = h("button", { className: "outlined" }, "ask again");
  on(again, "click", () => asked.retry());
  const content = h("div", { className: "output" }, list.element, changes(view, panel, asked));
  const instead = h("div", { className: "row" }, empty, again);
  panel.body.append(content, instead);

  panel.painting(() => {
    const alone = !answers(source);
    const live = store.text.value.length > 0;
    const { last, refusal } = asked;
    const why = alone
      ? KERNEL
      : live
        ? (refusal.value ?? (last.value ? null : "Asking the model …"))
        : NO_MODEL;
    content.hidden = panel.note.hidden = why !== null;
    instead.hidden = why === null;
    empty.textContent = why;
    again.hidden = why === null || why !== refusal.value;
    if (why !== null) return;
    const place = asked.position.value;
    const index = place ?? store.shown.value.queries - 1;
    const token = store.shown.value.rows.labels[index] ?? "";
    panel.note.textContent = `${last.value!.masked ? "at" : "after"} ${place === null ? "the last token, " : ""}"${token}" (query ${index})`;
    list.element.classList.toggle("waiting", asked.said.value === null);
    list.draw(last.value!.rows);
  });
}
