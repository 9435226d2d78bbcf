import { describe, expect, it } from "vitest";
import { turn } from "./helpers";
import { detail, methods, N, quick, ref, refine, setup, thumbnail } from "./scripted";

describe("a kernel that", () => {
  it("is mute costs two messages; what is here stays, and the rest follows when it speaks", async () => {
    const { state, sent, source, frame, deliver, settle, kernel } = setup();
    source.want({}, [thumbnail]);
    await settle();
    state.kernel = () => null;
    const owner = {};
    for (let head = 1; head < 20; head++) {
      source.want(owner, [{ kind: "detail", ref: { ...ref, head } }]);
      frame();
    }
    expect(sent).toHaveLength(3);
    expect(source.thumbnail(ref)).not.toBeNull();
    state.kernel = (message) => kernel.answer(message);
    await deliver(...sent.slice(1).map((message) => kernel.answer(message)));
    await settle();
    expect(source.detail({ ...ref, head: 19 })).not.toBeNull();
    expect(sent).toHaveLength(4);
  });

  it("answers out of order is understood", async () => {
    const { inbox, source, frame, deliver } = setup();
    source.want({}, [detail, { kind: "row", ref, index: 3 }]);
    frame();
    await deliver(...inbox.splice(0).reverse());
    expect(source.row(ref, 3)!.exact).toBe(true);
    expect(source.detail(ref)).not.toBeNull();
    expect(source.problem.value).toBeNull();
  });

  it("dies and comes back is asked again for what is missing", async () => {
    const { state, sent, rpc, source, frame, settle } = setup();
    source.want({}, [thumbnail]);
    await settle();
    state.kernel = () => null;
    source.want({}, [detail], [refine(detail)]);
    frame();
    state.gone = true;
    rpc.probe();
    await turn();
    expect([source.link.value, source.progress.value]).toEqual(["gone", null]);
    frame();
    expect(source.thumbnail(ref)).not.toBeNull();
    expect(source.problem.value).toBeNull();
    const before = sent.length;
    Object.assign(state, { gone: false, kernel: quick(N).answer });
    rpc.probe();
    await settle();
    expect(source.link.value).toBe("live");
    expect(sent.length).toBeGreaterThan(before + 1);
    expect(source.detail(ref)!.rows).toBeNull();
  });

  it("comes back without the questions it was asked before is asked them again", async () => {
    const { state, rpc, source, frame, settle, kernel } = setup();
    state.kernel = () => null;
    source.want({}, [detail, { kind: "row", ref, index: 1 }]);
    frame();
    state.kernel = (message) => kernel.answer(message);
    rpc.probe();
    await settle();
    expect(source.detail(ref)).not.toBeNull();
    expect(source.row(ref, 1)!.exact).toBe(true);
    expect(source.problem.value).toBeNull();
  });

  it.each([
    [{ done: "half" }, [], 'a part done, from 0 to 1, was expected, got "half"'],
    [{}, [], "a part done, from 0 to 1, was expected, got undefined"],
    [{ done: 1 }, [], "a binary buffer was expected, got undefined"],
    [
      { done: 1, tile: { height: 512, width: 512, dtype: "u16", rows: 9 } },
      [new DataView(new ArrayBuffer(512 * 512 * 2))],
      "an exact tile was asked for, one from 9 queries a cell came",
    ],
  ])("answers a refinement with nonsense is not asked again until told to: %#", async (ok, buffers, text) => {
    const { state, sent, source, kernel, settle } = setup();
    state.kernel = (message) =>
      message.method === "refine"
        ? { content: { id: message.id, ok }, buffers: buffers as DataView[] }
        : kernel.answer(message);
    source.want({}, [detail], [refine(detail)]);
    await settle();
    expect(source.problem.value).toBe(`The kernel's answer cannot be read: ${text}`);
    expect([source.progress.value, methods(sent)]).toEqual([null, ["tiles", "refine"]]);
    state.kernel = (message) => kernel.answer(message);
    source.retry();
    await settle();
    expect(source.detail(ref)!.rows).toBeNull();
  });

  it("sends strips of another size is told so", async () => {
    const { state, source, settle } = setup(100);
    state.kernel = ({ id }) => ({ content: { id, ok: { height: 3, width: 100, rows: null } }, buffers: [] });
    source.want({}, [{ kind: "marginals", ref, window: [0, 100, 0, 50] }]);
    await settle();
    expect(source.problem.value).toBe(
      "The kernel's answer cannot be read: strips of 100 and 50 bins were asked for, 3 and 100 came in 0 buffers",
    );
  });
});
