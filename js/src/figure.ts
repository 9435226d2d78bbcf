/** What a view can be taken along as: a figure, its numbers, the line of Python that shows it again. */
import { asBytes } from "./bytes";
import { MISSING } from "./codes";
import { h } from "./dom";
import { singleCelled } from "./edges";
import { dots } from "./format";
import { hiddenKeys, lensWords } from "./lens";
import { on } from "./pointing";
import type { Answer, RpcError } from "./rpc";
import { effect } from "./signals";
import { palette } from "./theme";
import type { View } from "./view";

const TYPES = { svg: "image/svg+xml", png: "image/png", csv: "text/csv" };
type Kind = keyof typeof TYPES;

const needsKernel = () => new Error("This needs a running kernel: run the cell again.");

const row = (...content: (Node | string)[]) => h("div", { className: "row" }, ...content);

const options = (names: readonly string[]) => names.map((name) => h("option", {}, name));

function choice(name: string, ...names: string[]): [HTMLSelectElement, HTMLElement] {
  const select = h("select", {}, ...options(names));
  return [select, h("label", {}, name, select)];
}

/** Fills the dialog that `kit.ts` opens. */
export function figure(root: HTMLElement, view: View, dialog: HTMLDialogElement, place: HTMLElement): void {
  const { store, source } = view;
  const [panel, panelLabel] = choice("panel");
  const [theme, themeLabel] = choice("theme", "as shown", "light", "dark");
  const [scale, scaleLabel] = choice("PNG scale", "1×", "2×", "3×");
  scale.selectedIndex = 1;
  const said = h("span", { role: "status" });
  const line = h("input", { readOnly: true, aria: { label: "Python line" } });
  /** Null where there is no kernel. */
  const ask = (method: string, params: unknown): Promise<Answer | null> =>
    source.ask(method, params).catch((error: RpcError) => {
      if (/static|gone|lost/.test(error.code)) return null;
      throw error;
    });

  const save = async (kind: Kind) => {
    const name = panel.value;
    const answer = await ask("figure", {
      kind,
      panel: name,
      theme: theme.selectedIndex ? theme.value : view.dark.value ? "dark" : "light",
      scale: scale.selectedIndex + 1,
    });
    const blob =
      kind === "png" && !answer
        ? await picture(root, view, name)
        : new Blob([answer ? asBytes(answer.buffers[0]) : numbers(view, kind)], { type: TYPES[kind] });
    const { layer, head } = store.lockedHead.value;
    const title = `${store.meta.value.model}-layer${layer}-head${head}-${name}`;
    const download = `${title.replace(/[^\w.-]+/g, "_")}.${kind}`;
    const href = URL.createObjectURL(blob);
    h("a", { href, download }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
    return `saved ${download}`;
  };
  const copy = async () => {
    const answer = await ask("code", {});
    if (!answer) throw needsKernel();
    line.value = answer.ok.code as string;
    line.hidden = false;
    line.select();
    try {
      await navigator.clipboard.writeText(line.value);
      return "copied";
    } catch {
      // Forbidden, or not there because the page came over plain http: the line stands there selected.
      return "copy from here";
    }
  };
  const button = (text: string, act: () => Promise<string>) => {
    const b = h("button", { className: "outlined" }, text);
    on(b, "click", async () => {
      said.textContent = "…";
      line.hidden = true;
      try {
        said.textContent = await act();
      } catch (error) {
        dialog.close();
        source.problem.value = (error as Error).message;
      }
    });
    return b;
  };
  place.append(
    row(panelLabel, themeLabel, scaleLabel),
    row(
      ...(["svg", "png", "csv"] as const).map((kind) =>
        button(`save ${kind.toUpperCase()}`, () => save(kind)),
      ),
      button("copy Python line", copy),
    ),
    row(said, line),
  );
  const clear = () => {
    line.hidden = true;
    said.textContent = "";
  };
  clear();
  on(dialog, "close", clear);
  view.disposers.push(
    effect(() => {
      // A figure is of what the view shows; numbers of the model are in Python.
      const names = store.panels.value.filter((name) => name !== "output") as string[];
      const chosen = [panel.value, "heatmap"].find((name) => names.includes(name));
      panel.replaceChildren(...options(names));
      if (chosen) panel.value = chosen;
    }),
  );
}

/** A panel as it is on screen, its overlay over it. */
function picture(root: HTMLElement, view: View, name: string): Promise<Blob> {
  const { meta, stack } = view.store;
  // Of a comparison the side whose stack is shown, as the kernel draws it.
  const nth = name === "heatmap" ? Math.max(0, meta.value.compare?.indexOf(stack.value) ?? 0) : 0;
  const panel = root.querySelectorAll(`[data-name="${name}"]`)[nth];
  const layers = [...(panel?.querySelectorAll<HTMLCanvasElement>(`canvas[data-panel^="${name}"]`) ?? [])];
  if (!layers[0]) throw needsKernel();
  const { width, height } = layers[0];
  const page = h("canvas", { width, height });
  const pen = page.getContext("2d")!;
  pen.fillStyle = palette(view.dark.value).page;
  pen.fillRect(0, 0, width, height);
  for (const layer of layers) pen.drawImage(layer, 0, 0);
  return new Promise((resolve, reject) =>
    page.toBlob((blob) => (blob ? resolve(blob) : reject(needsKernel()))),
  );
}

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;

/** The numbers that are here, as Python's `to_csv` writes them. */
function numbers(view: View, kind: Kind): string {
  const { store, source } = view;
  const ref = store.shownHead.value;
  const { kind: read, of } = store.reading.value;
  const { rows, columns, queries, keys } = store.shown.value;
  // Pooled cells would be printed as weights that they are not.
  const single = singleCelled(source.detail(ref), queries, keys);
  const names = (labels: readonly string[], [a, b]: readonly [number, number]) =>
    labels.map((label, i) => quoted(`${i} ${label}`)).slice(Math.floor(a), Math.ceil(b));
  const { visible } = store;
  const [q, k] = [visible.value.queries, visible.value.keys];
  let how = "exact";
  const lines = names(rows.labels, q).map((name, i) => {
    const found = source.row(ref, Math.floor(q[0]) + i);
    if (kind !== "csv" || !found || !(found.exact || single)) throw needsKernel();
    if (!found.exact) how = "read from the colours, not exact";
    const values = Array.from(found.values.slice(Math.floor(k[0]), Math.ceil(k[1])), (value) =>
      Number.isNaN(value) ? "" : value === MISSING ? "inf" : +of(value).toPrecision(found.exact ? 9 : 4),
    );
    return [name, ...values].join();
  });
  const told = store.shown.value.stack.measure?.words;
  const what = `${told ?? (read === "lift" ? "lift over uniform" : "weights after the softmax")}, ${how}`;
  const about = dots(`# ${store.meta.value.model}`, ref.stack, view.headWords.value, what, lensWords(view));
  return [
    quoted(`${about}; empty: not allowed by the mask${hiddenKeys(view).length ? ", or hidden" : ""}`),
    ["query \\ key", ...names(columns.labels, k)].join(),
    ...lines,
    "",
  ].join("\n");
}
