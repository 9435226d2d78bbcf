/** The two ends of the colour bar: sliders that are dragged or moved by arrows, and set the `domain`. */
import { positions, type Ramp, weightAt } from "./colour";
import { attr, h } from "./dom";
import { formatShare } from "./format";
import { on } from "./pointing";
import type { Range } from "./protocol";
import { aroundChance, aroundZero } from "./ramp";
import { batch, computed, effect, type ReadonlySignal, signal } from "./signals";
import type { View } from "./view";

/** Ends that touch would leave one colour. */
const APART = 1.02;
const STEP = 0.02;

export interface RangeEnds {
  /** What the bar shows: the ramp, or while an end is dragged the ramp that it began with. */
  axis: ReadonlySignal<Ramp>;
  handles: HTMLElement[];
}

export function rangeEnds({ store, picture, disposers }: View): RangeEnds {
  const held = signal<Ramp | null>(null);
  const axis = computed(() => held.value ?? picture.value.ramp);

  /** The domain with one of its ends at a place of the bar. */
  const moved = (end: number, t: number): Range => {
    const weight = weightAt(t, axis.value);
    const { kind, of } = store.reading.value;
    const number = of(weight);
    if (kind === "lift") return aroundChance(Math.min(of(1), number ** (end ? 1 : -1)));
    if (kind === "signed") return aroundZero(Math.min(of(1), Math.max(number * (end || -1), of(1) / 1e9)));
    const [low, high] = picture.value.ramp.range;
    const next = end
      ? [low, Math.min(1, Math.max(weight, low * APART, 1e-9))]
      : [Math.max(0, Math.min(weight, high / APART)), high];
    return next.map((each) => Number(of(each).toPrecision(3))) as Range;
  };
  const handles = ["Lower", "Upper"].map((name, end) => {
    const handle = h("span", {
      className: "end",
      tabIndex: 0,
      role: "slider",
      title: "Drag it, or move it with the arrow keys; double click: auto",
      aria: { label: `${name} end of the colours` },
    });
    on(handle, "pointerdown", (event) => {
      if (event.button) return;
      handle.setPointerCapture?.(event.pointerId);
      held.value = picture.value.ramp;
    });
    on(handle, "pointermove", ({ clientX }) => {
      if (!held.value) return;
      const { left, width } = handle.parentElement!.getBoundingClientRect();
      store.draftDomain.value = moved(end, (clientX - left) / width);
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"] as const)
      on(handle, name, () =>
        batch(() => {
          if (held.value && store.draftDomain.value) store.domain.value = store.draftDomain.value;
          store.draftDomain.value = held.value = null;
        }),
      );
    on(handle, "dblclick", () => {
      store.domain.value = null;
    });
    on(handle, "keydown", (event) => {
      const by = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP }[event.key];
      if (!by) return;
      event.preventDefault();
      store.domain.value = moved(end, end + by * (event.shiftKey ? 5 : 1));
    });
    return handle;
  });

  disposers.push(
    effect(() => {
      const place = positions(axis.value);
      const reading = store.reading.value;
      handles.forEach((handle, end) => {
        const weight = picture.value.ramp.range[end]!;
        handle.style.left = `${100 * place(weight)}%`;
        attr(
          handle,
          "aria-valuemin",
          String(Math.min(0, -reading.of(1) * Number(reading.kind === "signed"))),
        );
        attr(handle, "aria-valuemax", String(reading.of(1)));
        attr(handle, "aria-valuenow", String(reading.of(weight)));
        attr(handle, "aria-valuetext", formatShare(weight, reading));
      });
    }),
  );
  return { axis, handles };
}
