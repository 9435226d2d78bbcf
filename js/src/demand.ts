/** Which weights a view needs now, most urgent first. */
import { effect, signal } from "./signals";
import { type HeadRef, WHOLE_VALUES } from "./source";
import type { HeadIndex } from "./state";
import type { View } from "./view";
import type { Want } from "./wants";

/** A head or token passed over in a sweep is not worth floats; one rested on is. */
const DWELL = 150;

export function demand(view: View): void {
  const { store, source } = view;
  const settled = signal({ head: store.lockedHead.peek(), focus: store.locked.peek() });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stopSettling = effect(() => {
    const next = { head: store.shownHead.value, focus: store.focus.value };
    clearTimeout(timer);
    timer = setTimeout(() => {
      settled.value = next;
    }, DWELL);
  });

  const stop = effect(() => {
    const { stack, batch, queries, keys } = store.shown.value;
    const at = ({ layer, head }: HeadIndex): HeadRef => ({ stack: stack.name, batch, layer, head });
    const shown = store.shownHead.value;
    const wants: Want[] = [{ kind: "detail", ref: shown }];
    for (const index of view.visibleHeads.value) wants.push({ kind: "thumbnail", ref: at(index) });
    const rested = at(settled.value.head);
    if (queries * keys <= WHOLE_VALUES) {
      wants.push({ kind: "values", ref: at(store.lockedHead.value) }, { kind: "values", ref: rested });
    } else {
      const { query, key } = settled.value.focus;
      if (query !== null) wants.push({ kind: "row", ref: rested, index: query });
      if (key !== null) wants.push({ kind: "column", ref: rested, index: key });
    }
    const { layer, head } = store.lockedHead.value;
    for (const [l, n] of [
      [layer, head + 1],
      [layer, head - 1],
      [layer + 1, head],
      [layer - 1, head],
    ] as const)
      if (l >= 0 && n >= 0 && l < stack.layers && n < stack.heads)
        wants.push({ kind: "detail", ref: at({ layer: l, head: n }) });
    const inside = wants.filter(({ ref }) => ref.layer < stack.layers && ref.head < stack.heads);
    source.want(
      view,
      inside.filter((want) =>
        want.kind !== "row" && want.kind !== "column"
          ? true
          : want.index < (want.kind === "row" ? queries : keys),
      ),
    );
  });
  view.disposers.push(() => {
    clearTimeout(timer);
    stopSettling();
    stop();
    source.want(view, []);
  });
}
