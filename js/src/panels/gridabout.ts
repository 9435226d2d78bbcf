/** What the numbers of the grid are, where they come from, and what they can and cannot show: asked for when somebody uses one. */
import { h, iconButton } from "../dom";
import { overlay } from "../help";
import { on } from "../pointing";
import type { AddedMap } from "../protocol";
import { answers } from "../rpc";
import { computed, effect, type ReadonlySignal, signal } from "../signals";
import type { View } from "../view";

/** Paragraphs by the name of a measure or a map; of "" what holds of all of them. */
type Texts = Record<string, readonly string[]>;

export interface GridAbout {
  button: HTMLElement;
  dialog: HTMLDialogElement;
  /** Maps that can be chosen. */
  maps: ReadonlySignal<readonly AddedMap[]>;
  signed(name: string): boolean;
  /** What there is to say of a measure or a map; nothing until that has come. */
  words(name: string | null | undefined): readonly string[];
  dispose(): void;
}

export function gridAbout({ store, source }: View): GridAbout {
  const { meta, sort, like, filter, colour_by, shown } = store;
  const texts = signal<Texts | null>(null);
  const open = signal(false);
  const maps = computed(() =>
    store.maps.value.filter(({ stack, why }) => stack === shown.value.stack.name && why === undefined),
  );
  const used = computed(() => {
    const names = [like.value ? null : sort.value, filter.value?.[0], colour_by.value];
    return new Set(names.filter((name): name is string => Boolean(name)));
  });
  const needed = computed(() => open.value || used.value.size > 0);
  const list = h("dl", { className: "about" });
  const dialog = overlay("What the numbers of heads are", list);
  // Keys of the view are for the view.
  on(dialog, "keydown", (event) => event.stopPropagation());
  on(dialog, "close", () => {
    open.value = false;
  });
  const title = "What these numbers are, and what they can and cannot show";
  const button = iconButton("i", title, "step info");
  on(button, "click", () => {
    open.value = true;
    dialog.showModal();
  });

  const stopAsking = effect(() => {
    // Of another run, or another stack, other things may be said.
    void [meta.value.capture, store.maps.value];
    const stack = shown.value.stack.name;
    if (!needed.value || !answers(source)) return;
    source.ask("about", { stack }).then(
      ({ ok }) => {
        texts.value = ok.about as Texts;
      },
      // The status line says what has become of the kernel; the controls work without these words.
      () => {},
    );
  });
  const stopWriting = effect(() => {
    if (!open.value) return;
    const told = texts.value;
    if (!told) {
      const why = answers(source)
        ? "Asking the kernel …"
        : "This needs a running kernel: run the cell again.";
      list.replaceChildren(h("dt", {}, why));
      return;
    }
    const chosen = <T extends { name: string }>(all: readonly T[]) =>
      all.filter(({ name }) => !used.value.size || used.value.has(name));
    const measures = chosen((meta.value.measures ?? []).map(([name, title]) => ({ name, title })));
    const said = [...measures, ...chosen(maps.value)];
    if (measures.length) said.push({ name: "", title: "All measures of this text" });
    list.replaceChildren(
      ...said.flatMap(({ name, title }) => [
        h("dt", {}, title),
        ...(told[name] ?? []).map((paragraph) => h("dd", {}, paragraph)),
      ]),
    );
  });
  return {
    button,
    dialog,
    maps,
    signed: (name) => maps.value.some((map) => map.name === name && map.signed),
    words: (name) => (name && texts.value?.[name]) || [],
    dispose() {
      stopAsking();
      stopWriting();
    },
  };
}
