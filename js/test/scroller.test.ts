/** What scrolls in a panel, while the host hides and shows it. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { scroller } from "../src/scroller";
import { screen } from "./screen";

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("what scrolls", () => {
  it("stays where it is while it is not laid out, and goes back there when it has forgotten", () => {
    const seen: (() => void)[] = [];
    screen();
    vi.stubGlobal(
      "ResizeObserver",
      class {
        constructor(run: () => void) {
          seen.push(run);
        }
        observe() {}
        disconnect() {}
      },
    );
    const scrolled = vi.fn();
    const area = scroller("lines", "", scrolled);
    const width = vi.spyOn(area.element, "clientWidth", "get");
    let real = 0;
    let laid = true;
    vi.spyOn(area.element, "scrollTop", "get").mockImplementation(() => (laid ? real : 0));
    vi.spyOn(area.element, "scrollTop", "set").mockImplementation((y) => {
      if (laid) real = y;
    });
    area.fit(400, 10000, 400, 300);
    area.reveal(0, 5000, 0, 17, 0, 0);
    expect(area.y).toBe(5017 - 300);
    // The host hides the view for a moment, as JupyterLab does while it changes its theme, and the panel is wider then.
    laid = false;
    width.mockReturnValue(0);
    area.fit(420, 10000, 420, 300);
    area.element.dispatchEvent(new Event("scroll"));
    expect([area.y, scrolled.mock.calls.length]).toEqual([4717, 0]);
    // It comes back, taken off the page in between: the browser has forgotten.
    [laid, real] = [true, 0];
    width.mockReturnValue(400);
    for (const run of seen) run();
    expect([area.y, real]).toEqual([4717, 4717]);
    // Less to see: it cannot be scrolled further than to its end.
    area.fit(400, 1000, 400, 300);
    expect(area.y).toBe(700);
    real = 20;
    area.element.dispatchEvent(new Event("scroll"));
    expect([area.y, scrolled.mock.calls.length]).toEqual([20, 1]);
  });
});
