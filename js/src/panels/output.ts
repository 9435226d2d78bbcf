/** What the model says at the position in focus, and whether a head or an edge matters for it. */
import { attr, h } from "../dom";
import { formatSigned, formatWeight } from "../format";
import { type Candidate, type Effect, ofToken, outputs } from "../outputs";
import { ARROWS, on } from "../pointing";
import { ABLATIONS, type Ablation, METRICS, type Metric } from "../protocol";
import { answers } from "../rpc";
import { effect, signal } from "../signals";
import { chooser } from "../toolbar";
import type { View } from "../view";
import type { Panel } from "./panel";

const BACKUP =
  "A small change does not clear a head: others may do the same, or make up for it (Wang et al. 2022; McGrath et al. 2023).";
/** What each kind of result can and cannot show. */
const CAUTION = {
  ablate: `${BACKUP} Zero is a result that the layers above may never have seen: compare with the mean.`,
  attribute:
    "The direct way only: what later layers make of a head is in their share (Elhage et al. 2021). No prediction of an ablation.",
  knockout:
    "The rest of the row gets the weight, and information may take another way, over a token between (Geva et al. 2023).",
};
const KERNEL = "What the model says needs a running kernel.";
const NO_MODEL =
  "This view knows no model: model.show(text) makes one that says what comes next, and which heads matter for it.";
/** Results that stay in sight. */
const KEPT = 6;

const NAMES: Record<Metric, string> = {
  loss: "loss of the text",
  probability: "probability",
  logits: "logit",
};

/** A number of the output; null where the model overflowed. */
const number = (value: number | null) => (value === null ? "not a number" : formatSigned(value));

/** What was done, and what became of it; the second is the number. */
type Result = readonly [string, string];

/** A change in one line: `layer 1 head 2 replaced (zero): loss`, `3.21 → 3.45 (+0.240)`. */
export function effectWords({ what, number: name, baseline, value }: Effect): Result {
  const known = baseline !== null && value !== null;
  const by = known ? value - baseline : 0;
  const change = known ? ` (${by > 0 ? "+" : ""}${formatSigned(by)})` : "";
  return [`${what}: ${name}`, `${number(baseline)} → ${number(value)}${change}`];
}

export function output(view: View, panel: Panel): void {
  const { store, source } = view;
  const asked = outputs(view, panel.onDispose);
  const results = signal<readonly Result[]>([]);
  /** Of the kind of result that was asked for last. */
  const caution = signal("");

  const list = h("div", {
    className: "candidates",
    role: "toolbar",
    aria: { label: "Candidates, by arrow keys" },
  });
  const empty = h("p", { className: "empty", role: "status" });
  const again = h("button", { className: "outlined" }, "ask again");
  const log = h("div", { className: "results", role: "log" });
  const careful = h("p", { className: "caution" });
  const hint = h("p", { className: "hint" });
  const said = h("span", { role: "status" });
  const bar = h("span", { className: "progress" });
  const cancel = h("button", { className: "outlined", title: "Stop" }, "cancel");
  const job = h("div", { className: "row" }, bar, said, cancel);
  on(cancel, "click", () => asked.cancel());
  on(again, "click", () => asked.retry());

  const mode = chooser(
    "replace by",
    `What takes the place of a head's result. ${CAUTION.ablate}`,
    (value) => {
      store.ablation.value = value as Ablation;
    },
  );
  const metric = chooser(
    "compare",
    "Which number of the output is compared; a candidate is chosen by click or Enter",
    (value) => {
      store.metric.value = value as Metric;
    },
  );
  const button = (title: string, act: () => void) => {
    const made = h("button", { className: "outlined", title });
    on(made, "click", act);
    return made;
  };

  const tokenWords = () => {
    const row = asked.last.value?.rows.find(({ id }) => id === store.token.value);
    return row ? `"${row.label}"` : `token ${store.token.value}`;
  };
  const where = () => {
    const query = store.locked.value.query ?? store.shown.value.queries - 1;
    return `${asked.last.value?.masked ? "at" : "after"} ${view.name({ query, key: null })}`;
  };
  /** The number that is compared, in words. */
  const compared = (name = store.metric.value) =>
    ofToken(name) ? `${NAMES[name]} of ${tokenWords()} ${where()}` : "loss";
  const about = () => ({
    metric: store.metric.value,
    token: ofToken(store.metric.value) ? store.token.value : null,
    position: store.locked.value.query,
  });
  const note = (kind: keyof typeof CAUTION, line: Result) => {
    results.value = [line, ...results.peek()].slice(0, KEPT);
    caution.value = CAUTION[kind];
  };
  const change = (kind: "ablate" | "knockout", params: object, what: string) => {
    const name = compared();
    asked.start(kind, { ...about(), ...params }, what, (ok) =>
      note(
        kind,
        effectWords({ what, number: name, baseline: ok.baseline as number, value: ok.value as number }),
      ),
    );
  };
  const onGrid = (kind: "ablate" | "attribute", params: object, what: string) =>
    asked.start(kind, { ...about(), ...params }, what, () => note(kind, [`${what}:`, "colours the grid"]));

  const replaced = () => `replaced (${store.ablation.value})`;
  const head = button(`Replaces the result of the locked head. ${CAUTION.ablate}`, () => {
    const { layer, head } = store.lockedHead.value;
    change(
      "ablate",
      { layer, head, mode: store.ablation.value },
      `layer ${layer} head ${head} ${replaced()}`,
    );
  });
  const heads = button(
    `Replaces the result of each head in turn, and colours the grid. ${CAUTION.ablate}`,
    () =>
      onGrid(
        "ablate",
        { head: null, mode: store.ablation.value },
        `change of ${compared()}, each head ${replaced()}`,
      ),
  );
  const attribute = button(
    `What each head adds to the logit of the chosen candidate. ${CAUTION.attribute}`,
    () => onGrid("attribute", { token: store.token.value }, `what heads add to the ${compared("logits")}`),
  );
  const cut = (layer: () => number | null) =>
    button(`Cuts the edge before the softmax, in all heads. ${CAUTION.knockout}`, () => {
      const at = layer();
      const where = at === null ? "every layer" : `layer ${at}`;
      change(
        "knockout",
        { ...store.locked.value, layer: at },
        `${view.name(store.locked.value)} cut in ${where}`,
      );
    });
  const everywhere = cut(() => null);
  const here = cut(() => store.lockedHead.value.layer);
  const edge = h("span", { className: "edge" });
  const buttons = [head, heads, attribute, everywhere, here];

  const content = h(
    "div",
    { className: "output" },
    list,
    h(
      "div",
      { className: "changes" },
      h("div", { className: "row" }, mode.element, metric.element),
      h("div", { className: "row" }, head, heads, attribute),
      h("div", { className: "row" }, edge, everywhere, here),
      hint,
      job,
      log,
      careful,
    ),
  );
  const instead = h("div", { className: "row" }, empty, again);
  panel.body.append(content, instead);

  /** The one candidate that Tab stops at. */
  let stop = 0;
  const choose = ({ id }: Candidate) => {
    store.token.value = store.token.peek() === id ? null : id;
  };
  on(list, "keydown", (event) => {
    const by = ARROWS[event.key];
    if (!by) return;
    (list.children[stop + by[0] + by[1]] as HTMLElement | undefined)?.focus();
    event.preventDefault();
  });
  on(list, "focusin", ({ target }) => {
    stop = Math.max(0, [...list.children].indexOf(target as Element));
    stopAt();
  });
  const stopAt = () => {
    [...list.children].forEach((each, i) => {
      (each as HTMLElement).tabIndex = i === stop ? 0 : -1;
    });
  };
  const shown = () => list.children as HTMLCollectionOf<HTMLButtonElement>;
  const draw = (rows: readonly Candidate[]) => {
    // Those that are there stay, so that the keyboard does.
    while (shown().length > rows.length) list.lastChild!.remove();
    while (shown().length < rows.length) {
      const each = h("button", { className: "candidate" }, h("bdi"), h("span", {}, h("i")), h("b"));
      on(each, "click", () => choose(asked.last.peek()!.rows[[...shown()].indexOf(each)]!));
      list.append(each);
    }
    rows.forEach(({ id, label, probability, rank }, i) => {
      const each = shown()[i]!;
      const [name, bar, value] = each.children as unknown as HTMLElement[];
      name!.textContent = label;
      (bar!.firstChild as HTMLElement).style.width = `${100 * (probability ?? 0)}%`;
      value!.textContent = `${probability === null ? "not a number" : formatWeight(probability)}${rank > i ? `, number ${rank + 1}` : ""}`;
      const chosen = id === store.token.value;
      attr(each, "aria-pressed", String(chosen));
      each.title = `Token ${id}. ${chosen ? "Chosen: its probability or logit can be compared" : "Choose it, to compare its probability or logit"}`;
    });
    stop = Math.min(stop, Math.max(0, rows.length - 1));
    stopAt();
  };

  panel.onDispose(
    effect(() => {
      void store.text.value;
      results.value = [];
      caution.value = "";
    }),
  );
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
    list.classList.toggle("waiting", asked.said.value === null);
    draw(last.value!.rows);
  });
  panel.painting(() => {
    const running = asked.job.value;
    const { layer, head: number } = store.lockedHead.value;
    const { query, key } = store.locked.value;
    const chosen = store.token.value !== null;
    const needs = ofToken(store.metric.value) && !chosen;
    mode.update(
      ABLATIONS.map((each) => [each, each]),
      store.ablation.value,
    );
    metric.update(
      METRICS.map((each) => [
        each,
        ofToken(each) && chosen ? `${NAMES[each]} of ${tokenWords()}` : NAMES[each],
      ]),
      store.metric.value,
    );
    head.textContent = `ablate layer ${layer} head ${number}`;
    heads.textContent = "ablate every head";
    attribute.textContent = chosen ? `attribute logit of ${tokenWords()}` : "attribute logit";
    const pair = query !== null && key !== null;
    edge.textContent = pair
      ? `cut ${view.name({ query, key })}`
      : "Lock a query and a key to cut the edge between them.";
    everywhere.textContent = "in every layer";
    here.textContent = `in layer ${layer}`;
    everywhere.hidden = here.hidden = !pair;
    for (const each of buttons) each.disabled = running !== null || (needs && each !== attribute);
    attribute.disabled ||= !chosen;
    hint.textContent = needs
      ? `Choose a candidate to compare its ${NAMES[store.metric.value]}.`
      : (asked.problem.value ?? "");
    hint.classList.toggle("failure", !needs && asked.problem.value !== null);
    hint.hidden = !hint.textContent;
    job.hidden = !running;
    if (running) {
      bar.style.setProperty("--done", `${100 * running.done}%`);
      said.textContent = running.waiting
        ? "The model runs on another text …"
        : `${running.what}, ${Math.floor(100 * running.done)} %`;
    }
    log.replaceChildren(
      ...results.value.map(([what, found]) => h("p", { dir: "auto" }, `${what} `, h("strong", {}, found))),
    );
    careful.textContent = caution.value;
    careful.hidden = !caution.value;
  });
}
