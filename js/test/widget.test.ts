import { afterEach, describe, expect, it, vi } from "vitest";
import factory from "../src/index";
import { PROTOCOL_VERSION } from "../src/protocol";
import { hostIsDark } from "../src/theme";
import { fakeModel, TRAITS, turn } from "./helpers";

/** What takes the views of a test away, so that none of their timers outlives it. */
const shown: AbortController[] = [];

/** happy-dom has no canvas: what draws fails here, which shows that the rest lives on. */
function show(traits: Record<string, unknown> = TRAITS()) {
  vi.spyOn(console, "error").mockImplementation(() => {});
  const model = fakeModel(traits);
  const el = document.createElement("div");
  document.body.append(el);
  const controller = new AbortController();
  shown.push(controller);
  const widget = factory();
  widget.initialize({ model, signal: controller.signal });
  widget.render({ model, el, signal: controller.signal });
  const root = el.firstElementChild?.shadowRoot?.querySelector<HTMLElement>(".root");
  return { model, el, root: root as HTMLElement, widget, controller };
}

afterEach(() => {
  for (const controller of shown.splice(0)) controller.abort();
  document.body.replaceChildren();
  for (const name of Object.keys(document.body.dataset)) delete document.body.dataset[name];
  vi.restoreAllMocks();
});

describe("the widget", () => {
  it("shows a panel that fails as a message, and keeps the rest alive", () => {
    const { root, model } = show();
    const messages = [...root.querySelectorAll(".failure")].map((p) => p.textContent);
    expect(messages).toContain("The heatmap failed: this browser gives no 2D canvas");
    expect(root.querySelector('[data-name="text"]')).not.toBeNull();
    model.arrive("layer", 2);
    expect(root.dataset.layer).toBe("2");
  });

  it("says so when the kernel speaks another protocol, or sends no capture", () => {
    expect(show({ ...TRAITS(), meta: { ...TRAITS().meta, version: 9 } }).root.textContent).toBe(
      "The kernel speaks version 9 of the protocol, this page version 2. Restart the kernel and reload the page, " +
        "so that both come from one attnwidget.",
    );
    expect(show({ ...TRAITS(), meta: {} }).root.textContent).toBe(
      "The widget got no description of a capture. Run the cell again.",
    );
    expect(
      show({ ...TRAITS(), meta: { version: PROTOCOL_VERSION, model: "", stacks: [] } }).root.textContent,
    ).toBe("There is no attention in this capture: no stacks, or one without layers, heads or examples.");
  });

  it("says so when there are no panels", () => {
    expect(show({ ...TRAITS(), panels: [] }).root.textContent).toContain(
      "No panels: set `panels` to some of",
    );
  });

  it("walks heads and layers by keys, releases with Esc, and keeps keys from the notebook", () => {
    const { root, model } = show({ ...TRAITS(), query: 1 });
    const heard = vi.fn();
    document.body.addEventListener("keydown", heard);
    const press = (key: string) =>
      root.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
    press("]");
    press("{");
    expect([model.traits.layer, model.traits.head]).toEqual([0, 3]);
    expect(root.dataset.query).toBe("1");
    press("Escape");
    expect([root.dataset.query, model.traits.query]).toEqual(["", null]);
    press("b");
    expect(heard).not.toHaveBeenCalled();
    document.body.removeEventListener("keydown", heard);
  });

  it("writes tokens as text, whatever they look like", () => {
    const traits = TRAITS();
    const nasty = "<img src=x onerror=alert(1)>";
    traits.meta.stacks[0]!.examples[0]!.queries.text = [nasty, "</script>", "<s>"];
    const { root } = show({ ...traits, query: 0 });
    expect(root.querySelector("img")).toBeNull();
    expect(root.textContent).toContain(nasty);
  });

  it("shows one state in two views, and takes both away cleanly", () => {
    const { widget, model, root, el, controller } = show();
    const second = document.createElement("div");
    document.body.append(second);
    widget.render({ model, el: second, signal: controller.signal });
    model.arrive("head", 1);
    const other = second.firstElementChild?.shadowRoot?.querySelector<HTMLElement>(".root");
    expect([root.dataset.head, other?.dataset.head]).toEqual(["1", "1"]);
    controller.abort();
    expect([el.childElementCount, second.childElementCount]).toEqual([0, 0]);
    model.arrive("head", 3);
    expect(root.dataset.head).toBe("1");
  });

  it("works with hosts that give no signal", () => {
    const model = fakeModel();
    const el = document.createElement("div");
    document.body.append(el);
    vi.spyOn(console, "error").mockImplementation(() => {});
    const widget = factory();
    const stop = widget.initialize({ model });
    const unmount = widget.render({ model, el });
    expect(el.childElementCount).toBe(1);
    unmount?.();
    stop?.();
    expect(el.childElementCount).toBe(0);
  });

  it("says that there is no kernel where the host says so", async () => {
    const { el, root } = show();
    el.className = "jupyter-widgets-disconnected";
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(root.dataset.status).toBe("static");
    expect(root.querySelector(".status")?.textContent).toBe("no kernel");
  });
});

describe("a view", () => {
  it("says as attributes what part of the head is in sight, and that it is not ready without it", async () => {
    const { root, model } = show();
    expect([root.dataset.whole, root.dataset.window]).toEqual(["0,3,0,3", ""]);
    const long = Array.from({ length: 40 }, () => "a");
    const traits = TRAITS();
    traits.meta.stacks[0]!.examples = [
      { queries: { piece: long, text: long, gap: long, special: [], segment: [] }, keys: null },
    ];
    model.arrive("meta", traits.meta);
    model.arrive("window", [10, 20, 0, 10]);
    await turn();
    const { window, level, sampled, progress, ready, whole } = root.dataset;
    expect([whole, window, level, sampled, progress, ready]).toEqual([
      ...["0,40,0,40", "10,20,0,10", "", "", "", "false"],
    ]);
  });

  it("says that the kernel is gone as soon as the host says that the connection changed", async () => {
    const { root, model } = show();
    await turn();
    expect(root.dataset.status).toBe("live");
    model.send = () => {
      throw new Error("Cannot send");
    };
    model.emit("comm_live_update");
    await vi.waitFor(() => expect(root.dataset.status).toBe("gone"));
    expect(root.querySelector(".status")?.textContent).toBe("kernel gone");
  });

  it("leaves the keys to the help while that is open", () => {
    const { root, model } = show();
    root.querySelector("dialog")?.setAttribute("open", "");
    root.dispatchEvent(new KeyboardEvent("keydown", { key: "]", bubbles: true }));
    expect(model.traits.head).toBe(2);
  });

  it("names every control in words", () => {
    const { root } = show({ ...TRAITS(), query: 1 });
    for (const control of root.querySelectorAll("header *, footer *, dialog *, .problem *")) {
      if (!/BUTTON|SELECT|INPUT/.test(control.tagName)) continue;
      const label = control.closest("label")?.querySelector("span")?.textContent;
      const name = control.getAttribute("aria-label") ?? (label || control.textContent) ?? "";
      expect(name, control.outerHTML).toMatch(/\w/);
    }
  });

  it("paints again when the resolution of the screen changes, and stops listening when it goes", () => {
    const heard: [() => void, AbortSignal][] = [];
    vi.spyOn(window, "matchMedia").mockImplementation(
      (query) =>
        ({
          matches: false,
          addEventListener: (_: string, run: () => void, options?: { signal: AbortSignal }) => {
            if (query.includes("resolution") && options) heard.push([run, options.signal]);
          },
          removeEventListener: () => {},
        }) as unknown as MediaQueryList,
    );
    const { controller } = show();
    expect(heard).toHaveLength(1);
    heard[0]?.[0]();
    expect(heard).toHaveLength(2);
    controller.abort();
    expect(heard.map(([, signal]) => signal.aborted)).toEqual([true, true]);
  });
});

describe("the theme", () => {
  it("is the host's", () => {
    const set = (data: Record<string, string>) => {
      for (const name of Object.keys(document.body.dataset)) delete document.body.dataset[name];
      Object.assign(document.body.dataset, data);
      return hostIsDark(document.body);
    };
    expect(set({ jpThemeLight: "false" })).toBe(true);
    expect(set({ jpThemeLight: "true" })).toBe(false);
    expect(set({ theme: "dark" })).toBe(true);
    expect(set({ vscodeThemeKind: "vscode-light" })).toBe(false);
    expect(set({ vscodeThemeKind: "vscode-high-contrast" })).toBe(true);
    expect(set({ vscodeThemeKind: "vscode-high-contrast-light" })).toBe(false);
    set({});
    document.body.style.color = "rgb(230, 230, 230)";
    expect(hostIsDark(document.body)).toBe(true);
    document.body.style.color = "rgb(20, 20, 20)";
    expect(hostIsDark(document.body)).toBe(false);
  });

  it("follows the host live, unless a trait says otherwise", async () => {
    const { root, model } = show({ ...TRAITS(), theme: "auto" });
    document.body.dataset.jpThemeLight = "false";
    await turn();
    expect(root.dataset.theme).toBe("dark");
    model.arrive("theme", "light");
    expect(root.dataset.theme).toBe("light");
  });
});
