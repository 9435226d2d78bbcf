/** Which panels are shown: a list to tick. */
import { h } from "./dom";
import { on } from "./pointing";
import { PANELS, type PanelName } from "./protocol";
import { effect } from "./signals";
import type { View } from "./view";

/** A panel that comes back goes before the first of those that follow it by custom. */
export function toggled(shown: readonly PanelName[], name: PanelName): PanelName[] {
  if (shown.includes(name)) return shown.filter((each) => each !== name);
  const place = shown.findIndex((each) => PANELS.indexOf(each) > PANELS.indexOf(name));
  return shown.toSpliced(place < 0 ? shown.length : place, 0, name);
}

export function panelMenu({ store, disposers }: View): HTMLElement {
  const summary = h("summary", { title: "Which panels are shown, key p" }, "panels");
  const boxes = PANELS.map((name) => {
    const box = h("input", { type: "checkbox" });
    on(box, "change", () => {
      store.panels.value = toggled(store.panels.peek(), name);
    });
    return box;
  });
  const list = PANELS.map((name, i) => h("label", {}, boxes[i]!, h("span", {}, name)));
  // A list that can have the focus keeps it while a name in it is clicked.
  const element = h("details", { className: "menu" }, summary, h("div", { tabIndex: -1 }, ...list));
  on(element, "focusout", ({ relatedTarget }) => {
    if (!element.contains(relatedTarget as Node | null)) element.open = false;
  });
  on(element, "keydown", (event) => {
    if (event.key !== "Escape" || !element.open) return;
    event.stopPropagation();
    element.open = false;
    summary.focus();
  });
  disposers.push(
    effect(() => {
      const shown = store.panels.value;
      boxes.forEach((box, i) => {
        box.checked = shown.includes(PANELS[i]!);
        // A view of nothing would have nothing to say.
        box.disabled = box.checked && shown.length === 1;
      });
    }),
  );
  return element;
}
