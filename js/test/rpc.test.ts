import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Rpc } from "../src/rpc";

interface Sent {
  id: number;
  method: string;
}

function setup(detached = { now: false }) {
  const sent: Sent[] = [];
  const rpc = new Rpc({ send: (message) => sent.push(message), detached: () => detached.now });
  return { sent, rpc, detached };
}

describe("rpc", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("numbers its messages and hands each answer to who asked", async () => {
    const { sent, rpc } = setup();
    const [a, b] = [rpc.request("tiles", { x: 1 }), rpc.request("values", {})];
    expect(sent).toEqual([
      { id: 1, method: "tiles", params: { x: 1 } },
      { id: 2, method: "values", params: {} },
    ]);
    expect(rpc.free).toBe(0);
    rpc.receive({ id: 2, ok: { blocks: [] } }, ["buffer"]);
    rpc.receive({ id: 1, ok: { tiles: [] } }, []);
    expect(await b).toEqual({ ok: { blocks: [] }, buffers: ["buffer"] });
    expect((await a).ok).toEqual({ tiles: [] });
    expect(rpc.free).toBe(2);
  });

  it("says busy after 400 ms, waits for as long as it takes, and is live again with the answer", async () => {
    const { rpc, sent } = setup();
    const answer = rpc.request("tiles", {});
    vi.advanceTimersByTime(399);
    expect(rpc.link.value).toBe("live");
    vi.advanceTimersByTime(1);
    expect(rpc.link.value).toBe("busy");
    vi.advanceTimersByTime(3_600_000);
    for (const { id } of sent) rpc.receive({ id, ok: {} }, []);
    await answer;
    expect(rpc.link.value).toBe("live");
    vi.advanceTimersByTime(10_000);
    expect(rpc.link.value).toBe("live");
  });

  it("says gone when the host throws, and asks nothing more", async () => {
    const rpc = new Rpc({
      send: () => {
        throw new Error("no comm");
      },
      detached: () => false,
    });
    await expect(rpc.request("tiles", {})).rejects.toMatchObject({ code: "gone" });
    expect([rpc.link.value, rpc.free]).toEqual(["gone", 0]);
  });

  it("says gone when the kernel is done with a message and has not answered it", async () => {
    const handled: (() => void)[] = [];
    const rpc = new Rpc({ send: (_, done) => handled.push(done), detached: () => false });
    const answered = rpc.request("tiles", {});
    handled[0]!();
    rpc.receive({ id: 1, ok: {} }, []);
    await answered;
    vi.advanceTimersByTime(10_000);
    expect(rpc.link.value).toBe("live");
    const waiting = rpc.request("tiles", {});
    handled[1]!();
    vi.advanceTimersByTime(1000);
    await expect(waiting).rejects.toMatchObject({ code: "gone" });
    expect(rpc.link.value).toBe("gone");
  });

  it("says gone when the host's promise to send fails, and is live again with an answer", async () => {
    let dead = true;
    const rpc = new Rpc({
      send: () => (dead ? Promise.reject(new Error("Forbidden")) : Promise.resolve()),
      detached: () => false,
    });
    await expect(rpc.request("tiles", {})).rejects.toMatchObject({ code: "gone" });
    expect([rpc.link.value, rpc.free]).toEqual(["gone", 0]);
    dead = false;
    const answer = rpc.request("tiles", {});
    rpc.receive({ id: 2, ok: {} }, []);
    await answer;
    expect(rpc.link.value).toBe("live");
  });

  it("asks again while it is busy, ever less often, and says gone once the host refuses", async () => {
    const host = { dead: false };
    const at: number[] = [];
    const start = performance.now();
    const rpc = new Rpc({
      send: () => {
        at.push(Math.round(performance.now() - start));
        return host.dead ? Promise.reject(new Error("Forbidden")) : Promise.resolve();
      },
      detached: () => false,
    });
    const lost = rpc.request("tiles", {});
    vi.advanceTimersByTime(3_600_000);
    expect(at.slice(0, 5)).toEqual([0, 1900, 4900, 10_900, 22_900]);
    expect(at.length).toBeLessThan(70);
    expect(rpc.link.value).toBe("busy");
    host.dead = true;
    vi.advanceTimersByTime(60_000);
    await expect(lost).rejects.toMatchObject({ code: "gone" });
    expect(rpc.link.value).toBe("gone");
    const asked = at.length;
    vi.advanceTimersByTime(3_600_000);
    expect(at.length).toBe(asked);
  });

  it("says static when the host says that nobody is there, at once or while it waits", async () => {
    await expect(setup({ now: true }).rpc.request("tiles", {})).rejects.toMatchObject({ code: "static" });
    const { rpc, detached } = setup();
    const waiting = rpc.request("tiles", {});
    detached.now = true;
    vi.advanceTimersByTime(400);
    await expect(waiting).rejects.toMatchObject({ code: "static" });
    expect(rpc.link.value).toBe("static");
  });

  it("passes errors on with code and text", async () => {
    const { rpc } = setup();
    const answer = rpc.request("tiles", {});
    rpc.receive({ id: 1, error: { code: "invalid", message: "layer 9 does not exist" } }, []);
    await expect(answer).rejects.toMatchObject({ code: "invalid", message: "layer 9 does not exist" });
  });

  it("calls an answer without ok and error malformed", async () => {
    const { rpc } = setup();
    const answer = rpc.request("tiles", {});
    rpc.receive({ id: 1 }, []);
    await expect(answer).rejects.toMatchObject({
      code: "malformed",
      message: 'answer 1 has neither "ok" nor "error"',
    });
  });

  it("gives up what many later messages have overtaken, but not for a few", async () => {
    const { rpc } = setup();
    const slow = rpc.request("refine", {});
    let lost: unknown = null;
    slow.catch((error: unknown) => {
      lost = error;
    });
    for (let id = 2; id <= 16; id++) {
      const answer = rpc.request("tiles", {});
      rpc.receive({ id, ok: {} }, []);
      await answer;
    }
    expect([lost, rpc.free]).toEqual([null, 1]);
    const last = rpc.request("tiles", {});
    rpc.receive({ id: 17, ok: {} }, []);
    await last;
    expect(lost).toMatchObject({ code: "lost", message: "message 1 was never answered" });
    expect(rpc.free).toBe(2);
    expect(() => rpc.receive({ id: 1, ok: {} }, [])).not.toThrow();
  });

  it("tries a kernel that was gone again after a while, and once only until it answers", async () => {
    const host = { gone: true };
    const sent: Sent[] = [];
    const rpc = new Rpc({
      send(message) {
        if (host.gone) throw new Error("no comm");
        sent.push(message);
      },
      detached: () => false,
    });
    await expect(rpc.request("tiles", {})).rejects.toMatchObject({ code: "gone" });
    expect(rpc.free).toBe(0);
    vi.advanceTimersByTime(2000);
    expect(rpc.free).toBe(1);
    await expect(rpc.request("tiles", {})).rejects.toMatchObject({ code: "gone" });
    expect(rpc.free).toBe(0);
    vi.advanceTimersByTime(2000);
    host.gone = false;
    const answer = rpc.request("tiles", {});
    expect([sent.length, rpc.free]).toEqual([1, 0]);
    rpc.receive({ id: 3, ok: {} }, []);
    await answer;
    expect([rpc.link.value, rpc.free]).toEqual(["live", 2]);
    rpc.dispose();
    vi.advanceTimersByTime(1e9);
    expect(rpc.free).toBe(0);
  });

  it("drops what it did not ask for", () => {
    const { rpc } = setup();
    for (const odd of [null, 3, "x", {}, { id: 99, ok: {} }, { id: "1", ok: {} }])
      expect(() => rpc.receive(odd, [])).not.toThrow();
  });
});
