import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Frames } from "../src/frames";

let due: (() => void)[] = [];
const frame = () => {
  for (const run of due.splice(0)) run();
};

beforeEach(() => {
  due = [];
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => due.push(run));
  vi.stubGlobal("cancelAnimationFrame", () => {
    due = [];
  });
});
afterEach(() => vi.unstubAllGlobals());

describe("the frames of a view", () => {
  it("paint at most once each, and what paintings ask for in the same frame", () => {
    const frames = new Frames();
    const overlay = vi.fn();
    const base = vi.fn(() => frames.request(overlay));
    frames.request(base);
    frames.request(base);
    frame();
    expect([base.mock.calls.length, overlay.mock.calls.length, due.length]).toEqual([1, 1, 0]);
  });

  it("hold back what is patient until the changes have come to rest, two frames later at most", () => {
    const frames = new Frames();
    const lines = vi.fn();
    for (let i = 0; i < 5; i++) {
      frames.request(lines, true);
      frame();
    }
    expect(lines).not.toHaveBeenCalled();
    frame();
    expect(lines).toHaveBeenCalledTimes(1);
    frame();
    expect([lines.mock.calls.length, due.length]).toEqual([1, 0]);
  });

  it("paint at once what was patient and is not any more", () => {
    const frames = new Frames();
    const lines = vi.fn();
    frames.request(lines, true);
    frames.request(lines);
    frame();
    frame();
    frame();
    expect(lines).toHaveBeenCalledTimes(1);
  });

  it("paint nothing once disposed", () => {
    const frames = new Frames();
    const lines = vi.fn();
    frames.request(lines, true);
    frames.dispose();
    frame();
    expect(lines).not.toHaveBeenCalled();
  });
});
