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
  const summary = h("summary", { title: "Which panels are shown, key P" }, "panels");
  const boxes = PANELS.map((name) => {
    const box = h("input", { type: "checkbox" });
    on(box, "change", () => {
      store.panels.value = toggled(store.panels.peek(), name);
    });
    return box;
  });
  const list = PANELS.map((name, i) => h("label", {}, boxes[i]!, h("span", {}, name)));
  const element = h("details", { className: "menu" }, summary, h("div", {}, ...list));
  const close = () => {
    element.open = false;
  };
  on(element, "keydown", (event) => {
    if (event.key !== "Escape" || !element.open) return;
    event.stopPropagation();
    close();
    summary.focus();
  });
  const gone = new AbortController();
  const outside = (event: Event) => {
    if (!event.composedPath().includes(element)) close();
  };
  document.addEventListener("pointerdown", outside, { signal: gone.signal });
  on(element, "focusout", ({ relatedTarget: to }) => {
    if (to && !element.contains(to as Node)) close();
  });
  disposers.push(
    () => gone.abort(),
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
