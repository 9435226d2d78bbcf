/** What is shown of the weights: a list of measures, and what the one in use can and cannot show. */
import { h, iconButton } from "./dom";
import { overlay } from "./help";
import { on } from "./pointing";
import type { Measure } from "./protocol";
import { answers } from "./rpc";
import { batch, effect } from "./signals";
import type { View } from "./view";

export function measureControl(view: View): HTMLElement {
  const { store, source, disposers } = view;
  const select = h("select");
  on(select, "change", () => {
    const { value } = select;
    // What is shown follows the state alone.
    select.value = store.measure.peek();
    // A range of one measure says nothing about another.
    batch(() => {
      store.domain.value = null;
      store.measure.value = value as Measure;
    });
  });
  const said = h("dl", { className: "about" });
  const about = overlay("What is shown", said);
  const ask = iconButton("i", "What this measure can and cannot show", "step info");
  on(ask, "click", () => about.showModal());
  const element = h(
    "span",
    { className: "measure" },
    h("label", {}, h("span", {}, "measure"), select),
    ask,
    about,
  );
  disposers.push(
    effect(() => {
      const all = store.meta.value.pair_measures ?? [];
      const now = store.measure.value;
      const alone = answers(source) ? "" : "Another measure needs a running kernel: run the cell again";
      element.hidden = !all.length;
      select.replaceChildren(
        ...all.map(([value, title, , why]) => {
          const disabled = value !== now && Boolean(why || alone);
          return h("option", { value, disabled, textContent: value, title: why || alone || title });
        }),
      );
      select.value = now;
      select.title = alone;
      const shown = all.find(([value]) => value === now);
      ask.title = shown ? `${shown[1]}: ${shown[2]}` : "";
      said.replaceChildren(
        ...(shown ? [h("dt", {}, shown[1]), h("dd", {}, shown[2])] : []),
        ...(alone ? [h("dt", {}, alone)] : []),
        ...all
          .filter(([, , , why]) => why)
          .flatMap(([, title, , why]) => [h("dt", {}, `${title}: not here`), h("dd", {}, why)]),
      );
    }),
  );
  return element;
}
