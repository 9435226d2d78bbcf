/** The frame around a panel: title, note, size, and a message where its content fails. */

import { h } from "../dom";
import type { PanelName } from "../protocol";
import { painting, type Signal, signal } from "../signals";
import type { View } from "../view";

export interface Panel {
  name: PanelName;
  element: HTMLElement;
  body: HTMLElement;
  /** Words beside the title: what is shown, and what is left out. */
  note: HTMLElement;
  /** The inner width, in CSS pixels; 0 until it is laid out. */
  width: Signal<number>;
  /**
   * Paints in a frame now and whenever something it reads has changed; failures stay inside the panel. While `patient`
   * says so, only once the changes have come to rest.
   */
  painting(paint: () => void, patient?: () => boolean): () => void;
  onDispose(stop: () => void): void;
  dispose(): void;
}

/** The message that replaces content which threw. The rest of the widget goes on. */
export function failure(where: string, error: unknown): HTMLElement {
  const text = error instanceof Error ? error.message : String(error);
  return h("p", { className: "failure", role: "alert" }, `The ${where} failed: ${text}`);
}

export function makePanel(view: View, name: PanelName, title: string): Panel {
  const note = h("span", { className: "note" });
  const body = h("div", { className: "body" });
  const element = h(
    "section",
    { className: "panel", aria: { label: title }, data: { name } },
    h("h3", {}, h("span", {}, title), note),
    body,
  );
  const width = signal(0);
  const stops: (() => void)[] = [];
  const observer = new ResizeObserver(() => {
    width.value = Math.floor(body.clientWidth);
  });
  observer.observe(body);

  let broken = false;
  const guarded = (run: () => void) => {
    if (broken) return;
    try {
      run();
      note.title = note.textContent;
    } catch (error) {
      broken = true;
      console.error(error);
      body.replaceChildren(failure(name, error));
    }
  };
  return {
    name,
    element,
    body,
    note,
    width,
    painting(paint, patient) {
      const { again, dispose } = painting(
        () => {
          if (view.ratio.value && width.value > 0) guarded(paint);
        },
        (task) => view.frames.request(task, patient?.()),
      );
      stops.push(dispose);
      return again;
    },
    onDispose: (stop) => stops.push(stop),
    dispose() {
      observer.disconnect();
      for (const stop of stops) stop();
    },
  };
}
