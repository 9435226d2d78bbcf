import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Tile } from "../src/codes";
import type { DataSource } from "../src/datasource";
import { RpcError } from "../src/rpc";
import { words } from "./helpers";
import { frame, madeUp, screen, view } from "./screen";

const SHAPE = { queries: 2, keys: 3 };
const weight = (q: number, k: number) => [0.5, 0.25, Number.NaN][k]! / (q + 1);
const TEXTS = { queries: words(["<s>", 'say "a"']), keys: words(["x", "y", "=1+1"]) };

let saved: { name: string; blob: Blob }[] = [];

beforeEach(() => {
  screen();
  saved = [];
  let last: Blob;
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    last = blob as Blob;
    return "blob:made-up";
  });
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    saved.push({ name: this.download, blob: last });
  });
  vi.spyOn(HTMLCanvasElement.prototype, "toBlob").mockImplementation((take) =>
    take(new Blob(["picture"], { type: "image/png" })),
  );
});

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

async function opened(ask?: DataSource["ask"], options: Parameters<typeof madeUp>[2] = {}) {
  const source = madeUp(SHAPE, weight, { ...options, ...(ask && { ask }) });
  const shown = await view(TEXTS, source, { layer: 1, head: 0 });
  shown.root.dispatchEvent(new KeyboardEvent("keydown", { key: "e", bubbles: true }));
  const dialog = shown.one('[aria-label="Figure and numbers"]') as HTMLDialogElement;
  const press = async (name: string) => {
    const button = [...dialog.querySelectorAll("button")].find((b) => b.textContent === name);
    button!.click();
    await frame();
  };
  const choose = (name: string, value: string) => {
    const label = [...dialog.querySelectorAll("label")].find((l) => l.textContent!.startsWith(name));
    label!.querySelector("select")!.value = value;
  };
  return { ...shown, source, dialog, press, choose, said: () => dialog.querySelector("[role=status]")! };
}

const refusing = (code: string, text: string) => () => Promise.reject(new RpcError(code, text));

describe("figure and numbers", () => {
  it("open with a key, not while one types in a list, and stop the keys of the view", async () => {
    const { dialog, root, store, one } = await opened();
    expect(dialog.open).toBe(true);
    dialog.dispatchEvent(new KeyboardEvent("keydown", { key: "]", bubbles: true }));
    expect(store.head.value).toBe(0);
    dialog.close();
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "]", bubbles: true }));
    expect(store.head.value).toBe(1);
    one(".legend select").dispatchEvent(new KeyboardEvent("keydown", { key: "e", bubbles: true }));
    expect(dialog.open).toBe(false);
    one('[title="Figure and numbers, key e"]').click();
    expect(dialog.open).toBe(true);
  });

  it("come from the kernel, with panel, theme and scale as chosen", async () => {
    const ask = vi.fn<DataSource["ask"]>(async () => ({
      ok: {},
      buffers: [new DataView(new TextEncoder().encode("<svg/>").buffer)],
    }));
    const { press, choose, said } = await opened(ask);
    await press("save SVG");
    expect(ask).toHaveBeenLastCalledWith("figure", {
      kind: "svg",
      panel: "heatmap",
      theme: "light",
      scale: 2,
    });
    choose("panel", "lines");
    choose("theme", "dark");
    choose("PNG scale", "3×");
    await press("save PNG");
    expect(ask).toHaveBeenLastCalledWith("figure", { kind: "png", panel: "lines", theme: "dark", scale: 3 });
    expect(saved.map(({ name, blob }) => [name, blob.type])).toEqual([
      ["tiny-layer1-head0-heatmap.svg", "image/svg+xml"],
      ["tiny-layer1-head0-lines.png", "image/png"],
    ]);
    expect(await saved[0]!.blob.text()).toBe("<svg/>");
    expect(said().textContent).toBe("saved tiny-layer1-head0-lines.png");
  });

  it("offer the panels that are shown", async () => {
    const { store, dialog } = await opened();
    const names = () => [...dialog.querySelector("select")!.options].map((o) => o.value);
    expect(names()).toEqual(["grid", "heatmap", "lines", "text"]);
    store.panels.value = ["text", "output", "grid"];
    expect(names()).toEqual(["text", "grid"]);
    expect(dialog.querySelector("select")!.value).toBe("text");
  });

  it("that the kernel refuses are a problem in words", async () => {
    const { press, source, dialog } = await opened(refusing("failed", "figures are drawn with matplotlib"));
    await press("save SVG");
    expect(source.problem.value).toBe("figures are drawn with matplotlib");
    expect(dialog.open).toBe(false);
    expect(saved).toEqual([]);
  });

  it.each(["static", "gone"])("without a kernel (%s) are what is on screen and here", async (code) => {
    const { press, choose, source, said } = await opened(refusing(code, "no kernel"));
    await press("save PNG");
    expect(saved[0]!.name).toBe("tiny-layer1-head0-heatmap.png");
    await press("save CSV");
    expect(await saved[1]!.blob.text()).toBe(
      [
        '"# tiny · self · layer 1 head 0 · weights after the softmax, exact; empty: not allowed by the mask"',
        'query \\ key,"0 x","1 y","2 =1+1"',
        '"0 <s>",0.5,0.25,',
        '"1 say ""a""",0.25,0.125,',
        "",
      ].join("\n"),
    );
    expect(said().textContent).toContain("saved");
    for (const [panel, name] of [
      ["heatmap", "save SVG"],
      ["text", "save PNG"],
      ["heatmap", "copy Python line"],
    ] as const) {
      source.problem.value = null;
      choose("panel", panel);
      await press(name);
      expect(source.problem.value).toBe("This needs a running kernel: run the cell again.");
    }
  });

  it("read from colours say so, and pooled colours are no numbers", async () => {
    const tile: Tile = { height: 2, width: 3, codes: new Uint16Array(6), max: 65535 };
    const single = await opened(undefined, { exact: false });
    single.source.detail = () => tile;
    await single.press("save CSV");
    const text = await saved[0]!.blob.text();
    expect(text).toContain("read from the colours, not exact");
    expect(text).toContain('"0 <s>",0.5,0.25,');
    single.source.detail = () => ({ ...tile, width: 1 });
    await single.press("save CSV");
    expect(single.source.problem.value).toBe("This needs a running kernel: run the cell again.");
    expect(saved).toHaveLength(1);
  });

  it("copy the line; where the clipboard is closed it stands there selected", async () => {
    const code = "cap.show(layer=1)";
    const write = vi.fn(async () => {});
    vi.stubGlobal("navigator", { ...navigator, clipboard: { writeText: write } });
    const { press, said, dialog } = await opened(async () => ({ ok: { code }, buffers: [] }));
    await press("copy Python line");
    expect(write).toHaveBeenCalledWith(code);
    expect(said().textContent).toBe("copied");
    write.mockRejectedValue(new Error("denied"));
    await press("copy Python line");
    const line = dialog.querySelector<HTMLInputElement>('[aria-label="Python line"]')!;
    expect([said().textContent, line.value, line.hidden]).toEqual(["copy from here", code, false]);
    dialog.close();
    expect([said().textContent, line.hidden]).toEqual(["", true]);
    // On a page that came over plain http there is no clipboard.
    vi.stubGlobal("navigator", { ...navigator, clipboard: undefined });
    await press("copy Python line");
    expect([said().textContent, line.value, line.hidden]).toEqual(["copy from here", code, false]);
  });
});
