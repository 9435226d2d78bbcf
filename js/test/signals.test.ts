import * as preact from "@preact/signals-core";
import { describe, expect, it } from "vitest";
import * as ours from "../src/signals";
import { random } from "./helpers";

type Library = Pick<typeof ours, "signal" | "computed" | "effect" | "batch">;

/** A random graph of cells, computeds and effects, driven by random writes: what every effect saw, in order. */
function story(library: Library, seed: number): string[][] {
  const next = random(seed);
  const pick = (n: number) => Math.floor(next() * n);
  const cells = Array.from({ length: 4 }, () => library.signal(pick(3)));
  const nodes: { readonly value: number }[] = [...cells];
  for (let i = 0; i < 6; i++) {
    const [a, b, c] = [nodes[pick(nodes.length)]!, nodes[pick(nodes.length)]!, nodes[pick(nodes.length)]!];
    // Reads b or c by turns, so that what is read changes on the way.
    nodes.push(library.computed(() => (a.value % 2 ? b.value : c.value) % 3));
  }
  const seen: string[][] = [];
  const stops = Array.from({ length: 5 }, (_, i) => {
    const [a, b] = [nodes[pick(nodes.length)]!, nodes[pick(nodes.length)]!];
    seen[i] = [];
    return library.effect(() => {
      seen[i]!.push(`${a.value} ${b.value}`);
    });
  });
  for (let step = 0; step < 30; step++) {
    const first = pick(4);
    const write = (cell: number) => {
      cells[cell]!.value = pick(4);
    };
    if (next() < 0.4)
      library.batch(() => {
        write(first);
        write((first + 1) % 4);
      });
    else write(first);
    if (step === 20) stops[pick(5)]!();
  }
  return seen;
}

describe("signals", () => {
  it("run the same effects with the same values as @preact/signals-core, on 300 random graphs", () => {
    for (let seed = 1; seed <= 300; seed++) {
      // The order of effects inside one change is nobody's promise; what each of them sees is.
      expect(story(ours, seed), `seed ${seed}`).toEqual(story(preact as unknown as Library, seed));
    }
  });

  it("pass an exception in a computed on to its reader, and recover", () => {
    const cell = ours.signal(0);
    const half = ours.computed(() => {
      if (cell.value === 1) throw new Error("odd");
      return cell.value;
    });
    expect(half.value).toBe(0);
    cell.value = 1;
    expect(() => half.value).toThrow("odd");
    cell.value = 2;
    expect(half.value).toBe(2);
  });

  it("run the other effects when one throws, then throw", () => {
    const cell = ours.signal(0);
    const seen: number[] = [];
    ours.effect(() => {
      if (cell.value) throw new Error("first");
    });
    ours.effect(() => seen.push(cell.value));
    expect(() => {
      cell.value = 1;
    }).toThrow("first");
    expect(seen).toEqual([0, 1]);
  });

  it("let go of sources when the last reader leaves", () => {
    const cell = ours.signal(0);
    let made = 0;
    const double = ours.computed(() => {
      made++;
      return cell.value * 2;
    });
    const stop = ours.effect(() => double.value);
    stop();
    cell.value = 1;
    expect(made).toBe(1);
    expect(double.value).toBe(2);
  });

  it("stop effects that set each other off", () => {
    const cell = ours.signal(0);
    expect(() =>
      ours.effect(() => {
        cell.value = cell.value + 1;
      }),
    ).toThrow("without end");
  });

  it("paint when the frame comes, and only if something moved", () => {
    const cell = ours.signal(0);
    const tasks = new Set<() => void>();
    const frame = () => {
      for (const task of tasks) {
        tasks.delete(task);
        task();
      }
    };
    const seen: number[] = [];
    const made = ours.painting(
      () => seen.push(cell.value),
      (task) => tasks.add(task),
    );
    expect(seen).toEqual([]);
    frame();
    cell.value = 1;
    cell.value = 2;
    expect(tasks.size).toBe(1);
    frame();
    made.again();
    frame();
    made.dispose();
    cell.value = 3;
    frame();
    expect(seen).toEqual([0, 2, 2]);
  });
});
