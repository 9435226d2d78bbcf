/** What the page of a notebook and the frame of one output say to each other. Nothing is shared, all is copied. */

export type State = Record<string, unknown>;

/** A widget as the page knows it: from the kernel's messages, or from a saved notebook. */
export interface Known {
  modelName: string;
  modelModule: string;
  modelModuleVersion: string;
  /** Binary traits are `ArrayBuffer`s. */
  state: State;
  /** Whether a kernel is behind it. */
  live: boolean;
}

/** How a frame hands binary data to a widget. */
export type Hands = "Uint8Array" | "ArrayBuffer";

export type FromPage =
  | { kind: "render"; id: string; hands: Hands }
  | { kind: "model"; id: string; known: Known | null }
  | { kind: "message"; id: string; data: unknown; buffers: ArrayBuffer[] };

export type FromFrame =
  | { kind: "ask"; id: string }
  | { kind: "send"; id: string; data: unknown; buffers: ArrayBuffer[] }
  | { kind: "height"; height: number };
