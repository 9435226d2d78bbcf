import { describe, expect, it } from "vitest";
import { decodeTable, encode, type Tile } from "../src/codes";
import { colourAt, lookup, pack, signed } from "../src/colour";
import { differenceView, sideView } from "../src/compare";
import { CODE_MASKED, CODE_MAX_U8, CODE_MAX_U16, CODE_ZERO } from "../src/protocol";
import { signal } from "../src/signals";
import type { HeadRef, Placed } from "../src/source";
import { createStore } from "../src/state";
import type { View } from "../src/view";
import { TRAITS, words } from "./helpers";

const N = Number.NaN;

function tileOf(values: number[], side: number, max = CODE_MAX_U16): Tile {
  return { height: side, width: side, codes: Uint16Array.from(values, (value) => encode(value, max)), max };
}

function viewOf(n: number, here: (ref: HeadRef) => { tile?: Tile; placed?: Placed[] }): View {
  const texts = Array.from({ length: n }, (_, i) => `t${i}`);
  const stack = (name: string) => ({
    name,
    layers: 3,
    heads: 4,
    examples: [{ queries: words(texts), keys: null }],
  });
  const traits = TRAITS();
  const compare: [string, string] = ["a", "b"];
  const meta = { ...traits.meta, compare, stacks: [stack("a"), stack("b")] };
  const store = createStore({ ...traits, meta, stack: "a" });
  const source = {
    detail: (ref: HeadRef) => here(ref).tile ?? null,
    thumbnail: () => null,
    placed: (ref: HeadRef) => here(ref).placed ?? [],
  };
  const owners = signal({ queries: [undefined, undefined, "b"], keys: [undefined, undefined, "b"] });
  return {
    store,
    source,
    owners,
    dark: signal(false),
    zoom: signal(1),
    seen: () => ({}),
  } as unknown as View;
}

describe("the difference of two heads", () => {
  it("is read from both sides where their cells are single pairs", () => {
    const a = tileOf([0.75, 0.25, N, 0, 1, N, N, N, N], 3);
    const b = tileOf([0.5, 0.5, N, N, 0.25, N, 0.3, 0.3, 0.4], 3, CODE_MAX_U8);
    const apart = differenceView(
      viewOf(3, ({ stack }) => ({ tile: stack === "a" ? a : b })),
      ["a", "b"],
    );
    const [{ tile, minus }] = apart.sight.value.placed as [Placed];
    const table = decodeTable(tile.max);
    const found = Array.from(tile.codes, (code, i) => table[code]! - table[minus!.codes[i]!]!);
    // Weights of 8 bits are right to 4.5 %.
    [-0.25, 0.25, N, 0, -0.75, N, N, N, N].forEach((value, i) => {
      if (Number.isNaN(value)) expect([tile.codes[i], minus!.codes[i]]).toEqual([CODE_MASKED, CODE_MASKED]);
      else expect(Math.abs(found[i]! - value)).toBeLessThan(0.03);
    });
    expect(apart.picture.value.ramp.range[0]).toBe(-apart.picture.value.ramp.range[1]);
    expect(apart.store.shownHead.value).toMatchObject({ stack: "b", measure: "excess", layer: 1, head: 2 });
  });

  it("is drawn only where what is more and what is less have both come", () => {
    const place = { queries: [0, 600] as [number, number], keys: [0, 600] as [number, number] };
    const more = { ...place, tile: tileOf([0.5, 0, 0, 0.25], 2) };
    const less = { ...place, tile: { ...tileOf([0, 0.75, 0, 0], 2), rows: 2 } };
    const have: Record<string, Placed[]> = { b: [more] };
    const view = viewOf(600, ({ stack, measure }) => ({ placed: (measure && have[stack]) || [] }));
    expect(differenceView(view, ["a", "b"]).sight.value.placed).toEqual([]);
    have.a = [less];
    const { sight, picture } = differenceView(view, ["a", "b"]);
    expect(sight.value.placed).toMatchObject([{ tile: more.tile, minus: less.tile }]);
    expect(sight.value.rows).toBe(2);
    expect(picture.value.ramp.range[1]).toBeCloseTo(0.75, 3);
  });

  it("has zero in the middle of its colours, and both signs beside it", () => {
    const ramp = signed("vik", 0.5, false);
    const at = (t: number) => pack(colourAt(t, "vik", false));
    const [warm, cool] = [1, -1].map((sign) => lookup(CODE_MAX_U16, ramp, 0, 7, sign));
    const half = encode(0.25, CODE_MAX_U16);
    expect([warm![half], cool![half]]).toEqual([at(0.75), at(0.25)]);
    expect([warm![CODE_ZERO], cool![CODE_ZERO]]).toEqual([at(0.5), at(0.5)]);
    expect([warm![CODE_MAX_U16], cool![CODE_MAX_U16], cool![0], cool![1]]).toEqual([at(1), at(0), 0, 7]);
  });
});

it("the view of a side stays with it, whatever stack and head are shown", () => {
  const view = viewOf(3, () => ({}));
  const side = sideView(view, "b");
  view.store.layer.value = 2;
  expect(side.store.shownHead.value).toMatchObject({ stack: "b", layer: 2, head: 2 });
  expect(view.store.shownHead.value.stack).toBe("a");
});
