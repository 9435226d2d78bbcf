/** Puts a view of a store and a source into an element. */

import type { DataSource } from "./datasource";
import { h } from "./dom";
import { readout, sentence } from "./footer";
import { Frames } from "./frames";
import { help } from "./help";
import { followReady, showState } from "./hooks";
import { onKeys } from "./keyboard";
import { asking, figureDialog, kit, kitPanel, livePlace } from "./kit";
import { legend } from "./legend";
import { compared } from "./panels/compared";
import { graph } from "./panels/graph";
import { grid } from "./panels/grid";
import { heatmap } from "./panels/heatmap";
import { lines } from "./panels/lines";
import { failure, type Panel } from "./panels/panel";
import { text } from "./panels/text";
import { metaProblem, PANELS, type PanelName } from "./protocol";
import { Selection } from "./select";
import { computed, effect } from "./signals";
import type { Store } from "./state";
import { liveRegion, problemBar, statusBadge, wall } from "./status";
import css from "./style.css";
import { followTheme, palette } from "./theme";
import { toolbar } from "./toolbar";
import { createView, type View } from "./view";

const MAKERS: Record<PanelName, (view: View) => Panel> = {
  grid,
  heatmap,
  lines,
  graph,
  text,
  detail: kitPanel("detail", "Query · key", "Scores, q and k need"),
  output: kitPanel("output", "Output", "What the model says needs"),
};

/** Builds the view inside a shadow root of `el`; the function returned takes it away again. */
export function mount(el: HTMLElement, store: Store, source: DataSource): () => void {
  const host = h("div", { className: "attnwidget" });
  host.style.display = "block";
  host.dataset.lmSuppressShortcuts = "true";
  const shadow = host.attachShadow({ mode: "open" });
  const root = h("section", {
    className: "root",
    aria: { label: "Attention weights" },
    data: { lmSuppressShortcuts: "true" },
  });
  const more = h("style");
  shadow.append(h("style", { textContent: css }), more, root);
  el.append(host);

  const theme = followTheme(el, store.theme);
  const stops: (() => void)[] = [theme.dispose];
  stops.push(
    effect(() => {
      const colours = palette(theme.dark.value);
      root.style.colorScheme = theme.dark.value ? "dark" : "light";
      root.dataset.theme = theme.dark.value ? "dark" : "light";
      for (const name of ["page", "ink", "muted", "rule", "raised", "accent", "hatch"] as const)
        root.style.setProperty(`--${name}`, colours[name]);
    }),
  );
  stops.push(
    effect(() => {
      more.textContent = kit.value?.css ?? "";
    }),
  );
  let inner: (() => void) | null = null;
  const bad = computed(() => metaProblem(store.meta.value));
  stops.push(
    effect(() => {
      inner?.();
      inner = null;
      root.replaceChildren();
      const problem = bad.value;
      if (problem) root.append(wall(problem));
      else
        try {
          inner = build(root, host, store, source, theme.dark);
        } catch (error) {
          console.error(error);
          root.append(failure("view", error));
        }
    }),
  );
  return () => {
    for (const stop of stops) stop();
    inner?.();
    host.remove();
  };
}

function build(
  root: HTMLElement,
  host: HTMLElement,
  store: Store,
  source: DataSource,
  dark: View["dark"],
): () => void {
  const frames = new Frames();
  const select = new Selection(store);
  const view = createView(store, source, select, frames, dark);
  const { disposers } = view;
  const overlays = { "?": help(), e: figureDialog(root, view) };
  const panels = h("div", { className: "panels" });
  const said = computed(() => {
    const { who, value } = sentence(view);
    const { value: measure } = store.measure;
    // Eyes read it in the legend.
    const number = value && measure !== "weight" ? `${measure} ${value}` : value;
    return [view.headWords.value, who.replace(" → ", " to "), number].filter(Boolean).join(", ");
  });
  root.append(
    toolbar(view, overlays, statusBadge(view)),
    problemBar(view),
    livePlace(view),
    panels,
    h("footer", {}, legend(view), readout(view)),
    liveRegion(view, said),
    ...Object.values(overlays),
  );

  const made = new Map<PanelName, Pick<Panel, "element" | "dispose">>();
  disposers.push(
    effect(() => {
      const wanted = store.panels.value.filter((name) => PANELS.includes(name));
      for (const [name, panel] of made)
        if (!wanted.includes(name)) {
          panel.dispose();
          made.delete(name);
        }
      if (!wanted.includes("grid")) view.visibleHeads.value = null;
      const elements = wanted.map((name) => {
        let panel = made.get(name);
        if (!panel) {
          try {
            const sides = store.meta.peek().compare;
            panel = name === "heatmap" && sides ? compared(view, sides) : MAKERS[name](view);
          } catch (error) {
            console.error(error);
            panel = { element: failure(name, error), dispose() {} };
          }
          made.set(name, panel);
        }
        return panel.element;
      });
      panels.replaceChildren(
        ...(elements.length
          ? elements
          : [
              h(
                "p",
                { className: "empty" },
                `No panels: set \`panels\` to some of ${PANELS.map((name) => `"${name}"`).join(", ")}.`,
              ),
            ]),
      );
    }),
  );
  disposers.push(() => {
    for (const panel of made.values()) panel.dispose();
    made.clear();
  });

  const followed = () => {};
  const size = new ResizeObserver(() => {
    const width = host.clientWidth;
    const share = width >= 900 ? 0.4 : width >= 600 ? 0.52 : 0.95;
    view.panelHeight.value = Math.round(Math.max(250, Math.min(Math.max(480, width * 0.28), width * share)));
    // A host may hide the view for a moment, as JupyterLab does with a new theme: whether it is ready is asked again.
    frames.request(followed);
  });
  size.observe(host);
  const seen = new IntersectionObserver(
    ([entry]) => {
      view.onScreen.value = entry?.isIntersecting ?? true;
    },
    { rootMargin: "300px" },
  );
  seen.observe(host);
  const gone = new AbortController();
  /** Another screen or another zoom: what is drawn for the old resolution would be blurred. */
  const sharpen = () => {
    view.ratio.value = devicePixelRatio;
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", sharpen, {
      once: true,
      signal: gone.signal,
    });
  };
  sharpen();
  disposers.push(() => {
    gone.abort();
    size.disconnect();
    seen.disconnect();
    frames.dispose();
    select.endHover();
  });
  onKeys(root, view, overlays);
  asking(view);
  showState(root, view);
  followReady(root, view);
  return () => {
    for (const dispose of disposers.splice(0).reverse()) dispose();
  };
}
