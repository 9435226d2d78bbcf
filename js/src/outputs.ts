/** Asks the model about the text shown: its candidates, and what becomes of its output when something is changed. */
import type { Metric } from "./protocol";
import { answers, type RpcError } from "./rpc";
import { computed, effect, type ReadonlySignal, signal } from "./signals";
import { label } from "./tokens";
import type { View } from "./view";

export interface Candidate {
  id: number;
  label: string;
  /** Null where the model overflowed. */
  probability: number | null;
  /** How many are likelier. */
  rank: number;
}

export interface Said {
  /** They stand at the position, and not after it. */
  masked: boolean;
  rows: readonly Candidate[];
}

/** What was changed, and the number of the output without and with it. */
export interface Effect {
  what: string;
  number: string;
  baseline: number | null;
  value: number | null;
}

export interface Job {
  method: string;
  /** From 0 to 1. */
  done: number;
  /** The model is busy with a text. */
  waiting: boolean;
}

export interface Outputs {
  /** The query asked about; null: the last position. */
  readonly position: ReadonlySignal<number | null>;
  /** What the model says there; null until it has come. */
  readonly said: ReadonlySignal<Said | null>;
  /** What it said last, wherever that was. */
  readonly last: ReadonlySignal<Said | null>;
  /** Why it says nothing; null where it does. */
  readonly refusal: ReadonlySignal<string | null>;
  readonly job: ReadonlySignal<Job | null>;
  /** What went wrong with the last job. */
  readonly problem: ReadonlySignal<string | null>;
  /** Asks again what was refused. */
  retry(): void;
  /** Starts something that the kernel does in slices; one at a time. */
  start(method: string, params: object, done: (ok: Record<string, unknown>) => void): void;
  cancel(): void;
}

/** A pointer that passes over asks nothing. */
const HOVER = 150;
/** The model is asked again after so long where it was busy. */
const AGAIN = 300;

/** `unavailable` is the model's own refusal; of the rest the words would be out of place. */
const PASSING = ["static", "gone", "superseded"];

const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const read = (rows: [number, string, string, number | null, number][]): Candidate[] =>
  rows.map(([id, text, piece, probability, rank]) => ({ id, label: label(text, piece), probability, rank }));

export const ofToken = (metric: Metric) => metric !== "loss";

/** `stops` is told how to let go of all of it. */
export function outputs({ store, source, onScreen }: View, stops: (stop: () => void) => void): Outputs {
  const known = new Map<string, Said>();
  const version = signal(0);
  const last = signal<Said | null>(null);
  const refusal = signal<string | null>(null);
  const job = signal<Job | null>(null);
  const problem = signal<string | null>(null);
  /** Whatever was begun before is not taken any more. */
  let age = {};
  let running = {};
  let asking = "";
  let timer: ReturnType<typeof setTimeout> | undefined;

  const place = () => ({ stack: store.shown.value.stack.name, batch: store.shown.value.batch });
  const position = computed(() => store.focus.value.query ?? store.locked.value.query);
  const params = computed(() => ({
    ...place(),
    position: position.value,
    token: store.token.value,
  }));
  const said = computed(() => {
    void version.value;
    return known.get(JSON.stringify(params.value)) ?? null;
  });
  const rests = () => !["running", "stopping"].includes(store.run.value.state ?? "");
  const wanted = computed(
    () =>
      answers(source) &&
      store.text.value.length > 0 &&
      onScreen.value &&
      rests() &&
      refusal.value === null &&
      !said.value,
  );
  const ask = async () => {
    const wants = params.peek();
    const name = JSON.stringify(wants);
    if (!wanted.peek() || asking === name) return;
    asking = name;
    const mine = age;
    try {
      const { ok } = await source.ask("candidates", wants);
      if (mine !== age) return;
      if (ok.waiting) await rest(AGAIN);
      else {
        last.value = { masked: Boolean(ok.masked), rows: read(ok.rows as never) };
        known.set(name, last.value);
      }
    } catch (error) {
      const { code, message } = error as RpcError;
      if (mine === age && !PASSING.includes(code)) refusal.value = message;
    } finally {
      if (asking === name) asking = "";
      if (mine === age) version.value++;
    }
  };
  const stop = () => {
    running = {};
    job.value = null;
  };
  const forget = () => {
    age = {};
    asking = "";
    known.clear();
    last.value = refusal.value = problem.value = null;
    stop();
  };
  stops(
    effect(() => {
      // Another text, or another view of it: what is known is not about that.
      void store.meta.value;
      void store.stack.value;
      forget();
    }),
  );
  stops(
    effect(() => {
      void version.value;
      void params.value;
      const hovers = store.hoverPair.value !== null;
      clearTimeout(timer);
      if (wanted.value) timer = setTimeout(ask, hovers ? HOVER : 0);
    }),
  );
  stops(
    effect(() => {
      // The old text is of no interest any more once another one runs.
      if (!rests()) stop();
    }),
  );
  stops(() => {
    clearTimeout(timer);
    forget();
  });
  return {
    ...{ position, said, last, refusal, job, problem },
    retry() {
      refusal.value = null;
    },
    async start(method, more, done) {
      const mine = {};
      running = mine;
      problem.value = null;
      job.value = { method, done: 0, waiting: false };
      const wants = { ...place(), ...more };
      try {
        for (;;) {
          const { ok } = await source.ask(method, wants);
          if (running !== mine) return;
          const waiting = Boolean(ok.waiting);
          if (ok.done === 1) {
            done(ok);
            break;
          }
          job.value = { method, done: Number(ok.done), waiting };
          if (waiting) await rest(AGAIN);
          if (running !== mine) return;
        }
      } catch (error) {
        const { code, message } = error as RpcError;
        if (running === mine && !PASSING.includes(code)) problem.value = message;
      } finally {
        if (running === mine) stop();
      }
    },
    cancel() {
      stop();
      void source.ask("cancel", {}).catch(() => {});
    },
  };
}
