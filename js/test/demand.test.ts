import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { DataSource, Placed } from "../src/datasource";
import { demand } from "../src/demand";
import { Frames } from "../src/frames";
import type { Link } from "../src/rpc";
import { Selection } from "../src/select";
import { signal } from "../src/signals";
import { createStore } from "../src/state";
import { statusBadge } from "../src/status";
import { createView } from "../src/view";
import { type Want, wantKey } from "../src/wants";
import { TRAITS, words } from "./helpers";

/** A view of a stack of 3 layers of 4 heads, over a source that only takes down what is wanted. */
function setup(tokens: number) {
  const traits = TRAITS();
  const text = words(Array.from({ length: tokens }, (_, i) => `t${i}`));
  traits.meta.stacks[0]!.examples = [{ queries: text, keys: null }];
  const store = createStore(traits);
  const here = new Set<string>();
  const link = signal<Link>("live");
  const progress = signal<number | null>(null);
  const version = signal(0);
  let phases: readonly (readonly Want[])[] = [];
  let placed: readonly Placed[] = [];
  const source: DataSource = {
    ...{ version, link, progress, problem: signal(null), retry() {}, ask: () => Promise.reject() },
    thumbnail: () => null,
    detail: () => null,
    placed: () => {
      void version.value;
      return placed;
    },
    marginals: () => null,
    row: () => null,
    column: () => null,
    cell: () => null,
    pair: () => null,
    heads: () => null,
    finding: signal(0),
    want: (_, ...next) => {
      phases = next;
    },
    has: (want) => here.has(wantKey(want)),
  };
  const view = createView(store, source, new Selection(store), new Frames(), signal(false));
  view.extent.value = 500;
  demand(view);
  /** What is wanted, by phase: kinds with what tells them apart, the most urgent first. */
  const wanted = () =>
    phases.map((wants) =>
      wants.map((want) => {
        const of = want.kind === "refine" ? want.of : want;
        const which = wantKey(of).split("|", 2).filter(Boolean).join(" ");
        return `${want.kind === "refine" ? "refine " : ""}${which} of ${want.ref.layer} ${want.ref.head}`;
      }),
    );
  const arrive = (...wants: Want[]) => {
    for (const want of wants) here.add(wantKey(want));
    version.value++;
  };
  const show = (next: readonly Placed[]) => {
    placed = next;
    version.value++;
  };
  return { view, store, link, progress, wanted, arrive, show };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("what a view wants", () => {
  it("is how the pair in focus came about, once the eye rests on it and while its panel is there", () => {
    const { view, store, wanted } = setup(200);
    const pairs = () => wanted()[0]?.filter((want) => want.startsWith("qk"));
    store.query.value = 4;
    store.key.value = 2;
    vi.advanceTimersByTime(200);
    expect(pairs()).toEqual([]);
    store.panels.value = ["heatmap", "detail"];
    expect(pairs()).toEqual(["qk 4,2 of 1 2"]);
    store.hoverPair.value = { query: 7, key: 9, panel: "heatmap" };
    vi.advanceTimersByTime(100);
    expect(pairs()).toEqual(["qk 4,2 of 1 2"]);
    vi.advanceTimersByTime(100);
    expect(pairs()).toEqual(["qk 7,9 of 1 2"]);
    store.hoverPair.value = { query: 7, key: null, panel: "heatmap" };
    vi.advanceTimersByTime(200);
    expect(pairs()).toEqual([]);
    store.hoverPair.value = null;
    view.onScreen.value = false;
    vi.advanceTimersByTime(200);
    expect(pairs()).toEqual([]);
  });

  it("of a short head is its picture, its floats, the strips and the small pictures; nothing to refine", () => {
    const { view, wanted } = setup(200);
    view.visibleHeads.value = [
      { layer: 1, head: 2 },
      { layer: 1, head: 1 },
    ];
    expect(wanted()).toEqual([
      [
        ...["detail of 1 2", "values of 1 2", "values of 1 2"],
        ...["marginals 0,200,0,200 of 1 2", "marginals 0,200,0,200 of 1 2"],
        ...["thumbnail of 1 2", "thumbnail of 1 1"],
      ],
      [],
      ["detail of 1 3", "detail of 1 1", "detail of 2 2", "detail of 0 2"],
      [],
    ]);
  });

  it("has no strips where no heatmap shows them", () => {
    const { store, wanted } = setup(200);
    store.panels.value = ["lines", "text"];
    expect(wanted()[0]).toEqual(["detail of 1 2", "values of 1 2", "values of 1 2"]);
  });

  it("of a part of a long head is, from its middle out, the tiles of the level that the pixels need", () => {
    const { view, store, wanted } = setup(8192);
    view.visibleHeads.value = [{ layer: 0, head: 0 }];
    store.window.value = [3000, 3500, 3000, 3500];
    const [now, refine, next, later] = wanted() as [string[], string[], string[], string[]];
    expect(now.slice(0, 5)).toEqual([
      "detail of 1 2",
      ...["tile 0,12,12 of 1 2", "tile 0,12,13 of 1 2", "tile 0,13,12 of 1 2", "tile 0,13,13 of 1 2"],
    ]);
    expect(now.filter((name) => name.startsWith("tile"))).toHaveLength(9);
    expect(now.slice(10)).toEqual([
      "marginals 0,8192,0,8192 of 1 2",
      "marginals 3000,3500,3000,3500 of 1 2",
      "thumbnail of 0 0",
    ]);
    // Tiles of single tokens are small enough to be exact at once.
    expect([refine, later]).toEqual([["refine detail of 1 2"], ["refine thumbnail of 0 0"]]);
    expect(next).toContain("tile 0,10,10 of 1 2");
    expect(next).toContain("tile 1,6,6 of 1 2");
    expect(next.at(-1)).toBe("detail of 0 2");
  });

  it("are the exact row and column of a token that the pointer rests on", () => {
    const { store, wanted } = setup(8192);
    store.hoverPair.value = { query: 17, key: 4, panel: "heatmap" };
    expect(wanted()[0]!.join()).not.toContain("row");
    vi.advanceTimersByTime(200);
    expect(wanted()[0]!.slice(1, 3)).toEqual(["row 17 of 1 2", "column 4 of 1 2"]);
  });

  it("is only what is in sight while a gesture or a sweep over the heads goes on", () => {
    const { view, store, wanted } = setup(8192);
    view.visibleHeads.value = [{ layer: 0, head: 0 }];
    store.draftWindow.value = { queries: [100.5, 900], keys: [100.5, 900] };
    const [now, ...rest] = wanted();
    expect(now!.some((name) => name.startsWith("tile"))).toBe(true);
    expect(now!.some((name) => name.startsWith("marginals"))).toBe(false);
    expect(rest).toEqual([[], [], []]);
    store.draftWindow.value = null;
    store.hoverHead.value = { layer: 0, head: 3 };
    expect(wanted()[0]![0]).toBe("detail of 0 3");
    expect(wanted().slice(1)).toEqual([[], [], []]);
    vi.advanceTimersByTime(200);
    expect(wanted()[1]).toEqual(["refine detail of 0 3"]);
  });

  it("is no tile and no refinement while the view is off screen, or where no heatmap is shown", () => {
    const { view, store, wanted } = setup(8192);
    store.window.value = [0, 500, 0, 500];
    view.onScreen.value = false;
    expect(wanted().flat()[0]).toBe("detail of 1 2");
    expect(wanted().flat().join()).not.toMatch(/tile|refine|marginals/);
    view.onScreen.value = true;
    expect(wanted().flat().join()).toMatch(/tile.*refine/);
    store.panels.value = ["grid", "text"];
    expect(wanted().flat().join()).not.toMatch(/tile/);
  });
});

describe("what a view says", () => {
  it("is which level shows, and from how few queries its cells were sampled", () => {
    const { view, store, show } = setup(8192);
    store.window.value = [0, 200, 0, 200];
    expect([view.sight.value.level, view.sampled.value]).toEqual([null, null]);
    const tile = { height: 256, width: 256, codes: new Uint16Array(65536), max: 65535, rows: 2 };
    const whole: Placed = { tile, queries: [0, 8192], keys: [0, 8192] };
    show([whole]);
    expect([view.sight.value.level, view.sampled.value]).toEqual([null, 2]);
    show([whole, { tile: { ...tile, rows: null }, queries: [0, 256], keys: [0, 256], level: 0 }]);
    expect([view.sight.value.level, view.sampled.value]).toEqual([0, null]);
  });

  it("is how far the refinement is, as a bar", () => {
    const { view, progress, show } = setup(8192);
    const bar = statusBadge(view).querySelector<HTMLElement>("[role=progressbar]")!;
    progress.value = 0.378;
    expect(bar.hidden).toBe(true); // what is refined is not in sight
    const tile = { height: 1, width: 1, codes: new Uint16Array(1), max: 65535, rows: 2 };
    show([{ tile, queries: [0, 8192], keys: [0, 8192] }]);
    expect([bar.hidden, bar.title, bar.getAttribute("aria-valuenow")]).toEqual([
      false,
      "refining: 37 %",
      "37",
    ]);
    expect(bar.getAttribute("aria-label")).toBe("refining");
    progress.value = null;
    expect(bar.hidden).toBe(true);
  });

  it("is that something in sight needs a kernel, where there is none", () => {
    const { view, link, arrive } = setup(8192);
    const said = () =>
      [...statusBadge(view).querySelectorAll<HTMLElement>("[role=status]")]
        .filter((element) => !element.hidden)
        .map((element) => element.textContent);
    expect(said()).toEqual(["live"]);
    link.value = "gone";
    expect(said()).toEqual(["some of what is in sight needs a kernel", "kernel gone"]);
    arrive(...view.inSight.value);
    expect(said()).toEqual(["kernel gone"]);
    view.visibleHeads.value = [{ layer: 0, head: 0 }];
    expect(said()).toHaveLength(2);
    link.value = "busy";
    expect(said()).toEqual(["kernel busy"]);
  });

  it("wants the other heads that are drawn together, pair by pair where the window is small, and only for the lines", () => {
    const { store, wanted } = setup(2000);
    store.heads.value = [0, 2, 3];
    store.window.value = [0, 200, 0, 200];
    store.query.value = 5;
    vi.advanceTimersByTime(200);
    const now = wanted()[0]!;
    expect(now).toEqual(
      expect.arrayContaining(["detail of 1 2", "detail of 1 0", "tile 0,0,0 of 1 3", "row 5 of 1 0"]),
    );
    expect(now.indexOf("detail of 1 2")).toBeLessThan(now.indexOf("detail of 1 0"));
    store.window.value = null;
    expect(wanted()[0]).not.toContain("tile 0,0,0 of 1 3");
    store.panels.value = ["heatmap"];
    expect(wanted()[0]!.filter((want) => / 1 [03]$/.test(want))).toEqual([]);
  });

  it("wants a small picture of many heads of a long text first, then refines the large one, and prefetches no heads", () => {
    const { store, wanted } = setup(3000);
    store.aggregate.value = "mean";
    store.query.value = 5;
    vi.advanceTimersByTime(200);
    const [now, refined, next] = wanted();
    expect(now!.slice(0, 2).map((want) => want.split(" ")[0])).toEqual(["thumbnail", "detail"]);
    expect(now).toContain("row 5 of 1 2");
    expect(refined!.some((want) => want.startsWith("refine detail"))).toBe(true);
    expect(next!.filter((want) => want.startsWith("detail"))).toEqual([]);
  });
});
