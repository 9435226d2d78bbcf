import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import factory from "../src/index";
import kernel from "../src/kernel";
import { kit } from "../src/kit";
import type { Link } from "../src/rpc";
import { RpcError } from "../src/rpc";
import * as signals from "../src/signals";
import { signal } from "../src/signals";
import { fakeModel, TRAITS, turn } from "./helpers";
import { frame, madeUp, screen, text, view } from "./screen";
import { detail, methods, setup, thumbnail } from "./scripted";

const OWNER = {};

/** As a page has it at first: nothing has come from the kernel. */
beforeEach(() => {
  kit.value = null;
});
afterEach(() => {
  kit.value = kernel(signals);
  vi.useRealTimers();
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** Blobs cannot be imported here, but the same text can. */
const importable = () =>
  vi
    .spyOn(URL, "createObjectURL")
    .mockImplementation(
      (blob) => `data:text/javascript;size=${(blob as Blob).size},${encodeURIComponent(CODE)}`,
    );

const CODE = "export default (signals) => ({ ...globalThis.partsOfTheKit, signals });";

describe("the kernel's module", () => {
  it("is asked for before anything else, and asks for what is wanted", async () => {
    importable();
    vi.stubGlobal("partsOfTheKit", kernel(signals));
    const { state, kernel: answers, sent, source, frame: turnFrame, deliver } = setup(13);
    state.kernel = (message) =>
      message.method === "module"
        ? { content: { id: message.id, ok: { code: CODE } }, buffers: [] }
        : answers.answer(message);
    turnFrame();
    source.schedule();
    turnFrame();
    expect(methods(sent)).toEqual(["module"]);
    await deliver();
    await vi.waitFor(() => expect(kit.value).not.toBeNull());
    expect((kit.value as unknown as { signals: object }).signals).toMatchObject({
      signal,
      effect: signals.effect,
    });
    source.want(OWNER, [detail, thumbnail]);
    turnFrame();
    expect(methods(sent)).toEqual(["module", "tiles"]);
  });

  it("that is refused is a problem in words, and asked for again when told to", async () => {
    const { state, sent, source, frame: turnFrame, deliver } = setup(13);
    state.kernel = ({ id }) => ({
      content: { id, error: { code: "failed", message: "FileNotFoundError: kernel.js" } },
      buffers: [],
    });
    turnFrame();
    await deliver();
    expect(source.problem.value).toBe("The kernel could not answer (failed): FileNotFoundError: kernel.js");
    source.want({}, [detail]);
    turnFrame();
    expect(methods(sent)).toEqual(["module"]);
    source.retry();
    turnFrame();
    expect(source.problem.value).toBeNull();
    expect(methods(sent)).toEqual(["module", "module"]);
  });

  it("that is not a module is a problem in words", async () => {
    vi.stubGlobal("partsOfTheKit", kernel(signals));
    vi.spyOn(URL, "createObjectURL").mockReturnValue("data:text/javascript,export%20default%201");
    const { state, source, frame: turnFrame, deliver } = setup(13);
    state.kernel = ({ id }) => ({ content: { id, ok: { code: "" } }, buffers: [] });
    turnFrame();
    await deliver();
    await vi.waitFor(() =>
      expect(source.problem.value).toBe("The kernel's answer cannot be read: make is not a function"),
    );
  });

  it("that never comes does not hide that the kernel has died", async () => {
    vi.useFakeTimers();
    const { state, sent, rpc, frame: turnFrame } = setup(13);
    state.kernel = () => null;
    turnFrame();
    await vi.advanceTimersByTimeAsync(1800);
    expect(methods(sent)).toEqual(["module"]);
    expect(rpc.link.value).toBe("busy");
    state.gone = true;
    await vi.advanceTimersByTimeAsync(2000);
    expect(rpc.link.value).toBe("gone");
  });

  it("is asked for again by a kernel that has come back", async () => {
    const { state, sent, rpc, source, frame: turnFrame, deliver } = setup(13);
    state.gone = true;
    turnFrame();
    await turn();
    expect(rpc.link.value).toBe("gone");
    expect(source.problem.value).toBeNull();
    state.gone = false;
    state.kernel = ({ id }) => ({ content: { id, ok: {} }, buffers: [] });
    rpc.probe();
    await deliver();
    turnFrame();
    expect(methods(sent)).toEqual(["tiles", "module"]);
  });
});

describe("a page that has no kernel to send it", () => {
  async function shown(link: Link) {
    screen();
    const source = madeUp({ queries: 6, keys: 6 }, () => 0.25);
    source.ask = () => Promise.reject(new RpcError("static", "there is no kernel"));
    (source.link as ReturnType<typeof signal<Link>>).value = link;
    return view({ queries: text(6) }, source, { panels: ["grid", "heatmap", "detail"], text: "the cat" });
  }

  it.each(["static", "gone"] as const)("says so in the place of what needs it (%s)", async (link) => {
    const { one } = await shown(link);
    expect(one('[data-name="detail"] .empty').textContent).toBe("Scores, q and k need a running kernel.");
    expect(one(".live .empty").textContent).toBe(
      "Editing the text needs a running kernel: run the cell again.",
    );
    expect(one('[data-name="grid"] .tools').textContent).toBe(
      "Sorting heads by what they do needs a running kernel.",
    );
    expect(one(".live .empty").getAttribute("role")).toBe("status");
    expect(one("[aria-label='Figure and numbers'] .empty").textContent).toBe(
      "This needs a running kernel: run the cell again.",
    );
  });

  it("shows it as soon as it comes", async () => {
    const { one, all } = await shown("live");
    expect(all(".live *, [data-name=detail] .body *")).toEqual([]);
    expect(all(".toggle")).toEqual([]);
    kit.value = kernel(signals);
    await frame();
    expect(all("header .lens .toggle, .readout .toggle")).toHaveLength(2);
    expect(one("textarea")).toBeTruthy();
    expect(all('[data-name="grid"] .tools select')).toHaveLength(3);
    expect(one('[data-name="detail"] .empty').textContent).toBe(
      "Lock a query and a key to see how their weight came about.",
    );
  });

  it("takes it from itself where it was made to be passed on", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    vi.stubGlobal("partsOfTheKit", kernel(signals));
    vi.spyOn(URL, "createObjectURL").mockReturnValue(`data:text/javascript,${encodeURIComponent(CODE)}`);
    const model = fakeModel({ ...TRAITS(), module: CODE });
    const stop = factory().initialize({ model }) as () => void;
    await vi.waitFor(() => expect(kit.value).toMatchObject({ signals: { signal } }));
    stop();
  });

  it("hides the place of a text box in a view without one", async () => {
    screen();
    const source = madeUp({ queries: 6, keys: 6 }, () => 0.25);
    const { one } = await view({ queries: text(6) }, source, { panels: ["heatmap"] });
    expect(one(".live").hidden).toBe(true);
  });
});
