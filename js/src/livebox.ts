/** The text of a live view: editing it runs the model again. */

import { alike } from "./bridge";
import { h } from "./dom";
import { on } from "./pointing";
import { answers } from "./rpc";
import { effect, signal } from "./signals";
import type { View } from "./view";

/** A model that took less (s) runs by itself when the typing pauses for so long (ms); others wait to be told. */
const QUICK = 2;
const PAUSE = 700;
const KEYS = "Ctrl or ⌘ + Enter";

const parts = (text?: string | string[]) => (text ? [text].flat() : []);

export function liveBox({ store, source, disposers }: View, box: HTMLElement): void {
  const go = h("button", { title: `Run the model on this text, key ${KEYS}` }, "Run");
  const cancel = h("button", { title: "Stop the run, key Esc in the text box" }, "Cancel");
  const words = h("p", { role: "status" });
  const typed = signal<string[]>([]);
  /** True until the kernel has heard of what was asked for last, then why it refused it, or "". */
  const asked = signal<boolean | string>("");
  let boxes: HTMLTextAreaElement[] = [];
  let before: string[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;

  const run = () => store.run.value ?? {};
  const runs = () => asked.value === true || run().state === "running" || run().state === "stopping";
  const alone = () => !answers(source);
  const quick = () => run().seconds! < QUICK;
  const send = async (method: "run" | "cancel", params: object) => {
    clearTimeout(timer);
    asked.value = true;
    asked.value = await source.ask(method, params).then(
      () => "",
      (error: Error) => !alone() && error.message,
    );
  };
  const start = () => send("run", { text: typed.value[1] === undefined ? typed.value[0] : typed.value });
  const stop = () => {
    if (runs()) send("cancel", {});
  };
  const read = () => {
    typed.value = boxes.map(({ value }) => value);
  };
  const edited = (event: Event) => {
    read();
    clearTimeout(timer);
    if (quick() && !(event as InputEvent).isComposing)
      timer = setTimeout(() => {
        const known = parts(runs() ? run().text : store.text.value);
        if (!alone() && typed.value.every((each) => each.trim()) && !alike(typed.value, known)) start();
      }, PAUSE);
  };
  const make = (n: number) => {
    boxes = Array.from({ length: n }, () => h("textarea", { rows: 1, spellcheck: false, dir: "auto" }));
    for (const each of boxes) {
      on(each, "input", edited);
      on(each, "compositionend", edited);
      on(each, "keydown", (event) => {
        // What is typed here is text, not a key of the view or of the notebook.
        event.stopPropagation();
        if (event.isComposing) return;
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
        else if (event.key === "Escape") stop();
        else return;
        event.preventDefault();
      });
    }
    const labels = boxes.map((each, i) =>
      h("label", {}, h("span", {}, n > 1 ? `text ${"ab"[i]}` : "text"), each),
    );
    box.replaceChildren(...labels, go, cancel, words);
  };
  on(go, "click", start);
  on(cancel, "click", stop);

  disposers.push(
    () => clearTimeout(timer),
    effect(() => {
      const next = parts(store.text.value);
      // What is being typed stays, whatever comes.
      if (boxes.length !== next.length) make(next.length);
      else if (boxes.some(({ value }, i) => value !== before[i])) {
        before = next;
        return;
      }
      boxes.forEach((each, i) => {
        if (each.value !== next[i]) each.value = next[i]!;
      });
      before = next;
      read();
    }),
    effect(() => {
      const { state = "idle", text, message } = run();
      const earlier = alike(typed.value, parts(store.text.value))
        ? ""
        : "What is shown is not of this text yet. ";
      const busy = runs();
      const wrong = asked.value || (state === "failed" && alike(typed.value, parts(text)) && message);
      for (const each of boxes) each.readOnly = alone();
      go.hidden = alone();
      if (!busy && cancel.matches(":focus")) boxes[0]?.focus();
      cancel.hidden = !busy;
      box.dataset.run = alone() ? "" : busy ? "running" : wrong ? "failed" : "";
      const named = state[0]!.toUpperCase() + state.slice(1);
      words.textContent = alone()
        ? "Editing needs a running kernel: run the cell again."
        : busy
          ? `${state.endsWith("ing") ? named : "Waiting for the kernel"} … ${earlier}${state === "stopping" ? "" : "Esc cancels."}`
          : wrong
            ? `${wrong}. ${earlier}`
            : earlier
              ? `${state === "cancelled" ? named : "Edited"}. ${earlier}${KEYS} runs the model.`
              : `Edit it: ${quick() ? "the model runs when you pause" : `${KEYS} runs the model`}.`;
    }),
  );
}
