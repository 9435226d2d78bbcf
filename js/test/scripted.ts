/** A source over a kernel that a test scripts: what it answers, when, or not at all. */
import { expect } from "vitest";
import { fakeKernel, type Message, type Reply } from "../dev/kernel";
import type { HeadRef } from "../src/datasource";
import type { TileRequest } from "../src/protocol";
import { Rpc } from "../src/rpc";
import { TileSource } from "../src/source";
import type { TileWant, Want } from "../src/wants";
import { turn } from "./helpers";

export const N = 4200; // a little more than what is asked for exactly at once
export const ref: HeadRef = { stack: "self", batch: 0, layer: 0, head: 0 };
export const detail: TileWant = { kind: "detail", ref };
export const thumbnail: TileWant = { kind: "thumbnail", ref };
export const refine = (of: TileWant): Want => ({ kind: "refine", ref: of.ref, of });
export const other: HeadRef = { ...ref, head: 1 };

export type Kernel = (message: Message) => Reply | null;

/** A kernel whose refinements take four slices and cost nothing: all weights are 1. */
export function quick(n: number): { answer: (message: Message) => Reply } {
  const kernel = fakeKernel(n, n, true);
  const slices = new Map<string, number>();
  return {
    answer(message) {
      const { method, params, id } = message;
      if (method !== "refine") return kernel.answer(message);
      const { height, width, dtype } = params.tile as TileRequest;
      const key = JSON.stringify(params.tile);
      const done = (slices.get(key) ?? 0) + 0.25;
      slices.set(key, done);
      if (done < 1) return { content: { id, ok: { done } }, buffers: [] };
      const codes = dtype === "u8" ? new Uint8Array(height * width) : new Uint16Array(height * width);
      const tile = { height, width, dtype, rows: null };
      return { content: { id, ok: { done, tile } }, buffers: [new DataView(codes.fill(65535).buffer)] };
    },
  };
}

export function setup(n = N, kernel = quick(n)) {
  const state = { kernel: ((message) => kernel.answer(message)) as Kernel, gone: false };
  const sent: Message[] = [];
  const inbox: Reply[] = [];
  const frames: (() => void)[] = [];
  const rpc = new Rpc({
    send(message) {
      if (state.gone) throw new Error("no comm");
      sent.push(message as Message);
      const reply = state.kernel(message as Message);
      if (reply) inbox.push(reply);
    },
    detached: () => false,
  });
  const source = new TileSource(rpc, {
    shape: () => ({ queries: n, keys: n }),
    schedule: (run) => frames.push(run),
  });
  const frame = () => {
    for (const run of frames.splice(0)) run();
  };
  const deliver = async (...replies: Reply[]) => {
    for (const { content, buffers } of replies.length ? replies : inbox.splice(0))
      rpc.receive(content, buffers);
    await turn();
  };
  /** Frames and answers until nothing is asked for any more. */
  const settle = async (most = 100) => {
    for (let i = 0; i < most && (frames.length || inbox.length); i++) {
      frame();
      await deliver();
    }
    expect(frames.length + inbox.length).toBe(0);
  };
  return { state, kernel, sent, inbox, rpc, source, frame, deliver, settle };
}

export const methods = (sent: Message[]) => sent.map((m) => m.method);
