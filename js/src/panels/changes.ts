/** Whether a head or an edge matters for what the model says: what becomes of one number of its output without it. */
import { h } from "../dom";
import { formatSigned } from "../format";
import { type Effect, type Outputs, ofToken } from "../outputs";
import { on } from "../pointing";
import { ABLATIONS, type Ablation, METRICS, type Metric } from "../protocol";
import { effect, signal } from "../signals";
import { chooser, plain } from "../toolbar";
import type { View } from "../view";
import type { Panel } from "./panel";

const BACKUP =
  "A small change does not clear a head: others may do the same, or make up for it (Wang et al. 2022; McGrath et al. 2023).";
const UNSEEN = "Zero is a result that the layers above may never have seen: compare with the mean.";
/** What each kind of result can and cannot show. */
const CAUTION = {
  ablate: BACKUP,
  attribute:
    "The direct way only: what later layers make of a head is in their share (Elhage et al. 2021). No prediction of an ablation.",
  knockout:
    "The rest of the row gets the weight, and information may take another way, over a token between (Geva et al. 2023).",
};
const DOING: Record<string, string> = {
  ablate: "Replacing heads",
  attribute: "Taking the logit apart",
  knockout: "Cutting the edge",
};
/** Under these the kernel adds a map of every head; a newer one takes the place of an older one. */
const MAPS = { ablate: { map: "output:ablation" }, attribute: { map: "output:attribution" } };
type MapName = (typeof MAPS)[keyof typeof MAPS];
/** Results that stay in sight. */
const KEPT = 6;

const NAMES: Record<Metric, string> = {
  loss: "loss of the text",
  probability: "probability",
  logits: "logit",
};

/** A number of the output; null where the model overflowed. */
const number = (value: number | null) => (value === null ? "not a number" : formatSigned(value));

/** What was done, and what became of it; the second is the number, or the map of the grid that it became. */
type Result = readonly [string, string | MapName];

/** A change in one line: `layer 1 head 2 replaced (zero): loss`, `3.21 → 3.45 (+0.240)`. */
export function effectWords({ what, number: name, baseline, value }: Effect): Result {
  const known = baseline !== null && value !== null;
  const by = known ? value - baseline : 0;
  const change = known ? ` (${by > 0 ? "+" : ""}${formatSigned(by)})` : "";
  return [`${what}: ${name}`, `${number(baseline)} → ${number(value)}${change}`];
}

export function changes(view: View, panel: Panel, asked: Outputs): HTMLElement {
  const { store } = view;
  const results = signal<readonly Result[]>([]);
  /** Of the kind of result that came last. */
  const caution = signal("");

  const log = h("div", { className: "results", role: "log" });
  const careful = h("p", { className: "caution" });
  const hint = h("p", { className: "hint" });
  const said = h("span", { role: "status" });
  const bar = h("span", { className: "progress" });
  /** Not in what is read out: it changes too often. */
  const share = h("span");
  const cancel = h("button", { className: "outlined", title: "Stop" }, "cancel");
  const job = h("div", { className: "row job" }, said, bar, share, cancel);
  on(cancel, "click", () => asked.cancel());

  const mode = chooser("replace by", `What takes the place of a head's result. ${UNSEEN}`, (value) => {
    store.ablation.value = value as Ablation;
  });
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
    caution.value =
      kind === "ablate" && store.ablation.peek() === "zero" ? `${BACKUP} ${UNSEEN}` : CAUTION[kind];
  };
  const change = (kind: "ablate" | "knockout", params: object, what: string) => {
    const name = compared();
    asked.start(kind, { ...about(), ...params }, (ok) =>
      note(
        kind,
        effectWords({ what, number: name, baseline: ok.baseline as number, value: ok.value as number }),
      ),
    );
  };
  const onGrid = (kind: "ablate" | "attribute", params: object, what: string) =>
    asked.start(kind, { ...about(), ...params }, () => note(kind, [`${what}:`, MAPS[kind]]));

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
  const layersOnly = h("span", { className: "apart" });

  panel.onDispose(
    effect(() => {
      void store.text.value;
      results.value = [];
      caution.value = "";
    }),
  );
  panel.painting(() => {
    const { layer, head: number } = store.lockedHead.value;
    const { query, key } = store.locked.value;
    const chosen = store.token.value !== null;
    const named = (each: Metric) =>
      ofToken(each) && chosen ? `${NAMES[each]} of ${tokenWords()}` : NAMES[each];
    mode.update(plain(ABLATIONS), store.ablation.value);
    metric.update(
      METRICS.map((each) => [each, named(each)]),
      store.metric.value,
    );
    const { measure } = store.shown.value.stack;
    layersOnly.textContent = measure
      ? `Heads are not told apart by ${measure.words}: choose a measure of heads to ablate one.`
      : "";
    layersOnly.hidden = !measure?.whole;
    mode.element.hidden = head.hidden = heads.hidden = attribute.hidden = !layersOnly.hidden;
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
  });
  /** What has the keyboard while it waits for its result: a button that is disabled has none. */
  let began: HTMLElement | null = null;
  panel.painting(() => {
    const running = asked.job.value;
    const lacks = store.token.value === null;
    const needs = ofToken(store.metric.value) && lacks;
    if (running) {
      job.hidden = false;
      const busy = running.waiting ? "The model runs on another text" : DOING[running.method];
      if (said.textContent !== `${busy} …`) said.textContent = `${busy} …`;
      bar.style.setProperty("--done", `${100 * running.done}%`);
      share.textContent = `${Math.floor(100 * running.done)} %`;
      const focused = buttons.find((each) => each.matches(":focus"));
      if (focused) {
        began = focused;
        cancel.focus();
      }
    }
    const whole = Boolean(store.shown.value.stack.measure?.whole);
    for (const each of [head, heads, attribute]) each.hidden = whole;
    for (const each of buttons) each.disabled = running !== null || (each === attribute ? lacks : needs);
    if (!running && began) {
      if (cancel.matches(":focus")) began.focus();
      began = null;
    }
    job.hidden = !running;
    const problem = needs ? null : asked.problem.value;
    const headless = whole ? "The measure shown belongs to layers. Choose another one to ablate heads." : "";
    hint.textContent =
      problem ?? (needs ? `Choose a candidate to compare its ${NAMES[store.metric.value]}.` : headless);
    hint.classList.toggle("failure", problem !== null);
    hint.hidden = !hint.textContent;
  });
  /** What has become of a map. */
  const drawn = (found: MapName, place: number) => {
    if (results.value.findIndex(([, each]) => each === found) < place) return "replaced by the one above";
    return store.colour_by.value === found.map ? "colours the grid" : "in the grid's list of colours";
  };
  panel.painting(() => {
    log.replaceChildren(
      ...results.value.map(([what, found], i) =>
        h(
          "p",
          { dir: "auto" },
          `${what} `,
          h("strong", {}, typeof found === "string" ? found : drawn(found, i)),
        ),
      ),
    );
    careful.textContent = caution.value;
    careful.hidden = !caution.value;
  });
  return h(
    "div",
    { className: "changes" },
    h("div", { className: "row" }, mode.element, metric.element),
    h("div", { className: "row" }, layersOnly, head, heads, attribute),
    h("div", { className: "row" }, edge, everywhere, here),
    ...[hint, job, log, careful],
  );
}
