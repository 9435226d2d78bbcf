import { afterEach, expect, it, vi } from "vitest";
import { PANELS } from "../src/protocol";
import { madeUp, screen, text, view } from "./screen";

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

async function opened() {
  screen();
  const made = madeUp({ queries: 5, keys: 5 }, () => 0.2);
  const shown = await view({ queries: text(5) }, made, {
    panels: [...PANELS],
    query: 1,
    key: 2,
    layer: 0,
    text: "the old",
  });
  for (const dialog of shown.all("dialog") as HTMLDialogElement[]) dialog.showModal = () => {};
  /** Whether something in the view answers a key that is pressed on it. */
  const answers = (target: Element, key: string, more: KeyboardEventInit = {}) => {
    const event = new KeyboardEvent("keydown", {
      ...{ key, bubbles: true, composed: true, cancelable: true },
      ...more,
    });
    target.dispatchEvent(event);
    return event.defaultPrevented;
  };
  const help = shown.all('dialog[aria-label="Keys and mouse"] dt').map((dt) => dt.textContent!);
  return { ...shown, answers, help, single: help.flatMap((keys) => keys.split(/,? /)) };
}

const PRINTABLE = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));

/** Capitals do what small letters do, for those who have caps lock on; = is + without Shift. */
const named = (key: string) => (key === "=" ? "+" : key.toLowerCase());

it("names every key that the view or a panel answers in the help", async () => {
  const { root, one, answers, single } = await opened();
  const stage = one('[data-name="heatmap"] .stage');
  const found = PRINTABLE.filter((key) => answers(root, key) || answers(stage, key));
  expect(found.length).toBeGreaterThan(15);
  expect(found.filter((key) => !single.includes(named(key)))).toEqual([]);
});

it("answers every key that the help names", async () => {
  const { root, one, all, answers, help } = await opened();
  const places: Record<string, [Element, string[]]> = {
    "+ - 0": [one('[data-name="heatmap"] .stage'), ["+", "-", "0"]],
    arrows: [one('[data-name="heatmap"] .stage'), ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]],
    "Enter, Space": [one('[data-name="grid"] .scroll'), ["Enter", " "]],
    "/, ctrl + F": [root, ["/"]],
    Esc: [root, ["Escape"]],
  };
  const gestures = /hover|click|drag|wheel|square|^Tab$/;
  const modified: Record<string, () => boolean> = {
    "Shift + arrows": () => answers(one('[data-name="heatmap"] .stage'), "ArrowDown", { shiftKey: true }),
    "Ctrl or ⌘ + Enter": () =>
      answers(one("textarea"), "Enter", { ctrlKey: true }) &&
      answers(one("textarea"), "Enter", { metaKey: true }),
  };
  expect(answers(root, "f", { ctrlKey: true })).toBe(true);
  for (const keys of help.filter((name) => !gestures.test(name))) {
    const [target, each] = places[keys] ?? [root, keys.split(" ")];
    if (modified[keys]) expect(modified[keys](), keys).toBe(true);
    else for (const key of each) expect(answers(target, key), key).toBe(true);
  }
  expect(all('dialog[aria-label="Keys and mouse"] dt').length).toBe(
    all('dialog[aria-label="Keys and mouse"] dd').length,
  );
});

it("names in the help every key that the title of a control names", async () => {
  const { all, single } = await opened();
  const titles = all("[title]").flatMap(({ title }) => [...title.matchAll(/(?:, key|Key) (\S+)/g)]);
  const keys = titles.map(([, key]) => key!.replace(/[,.]$/, ""));
  expect(new Set(keys).size).toBeGreaterThan(10);
  // Those of a text field are in its words.
  const words = all('dialog[aria-label="Keys and mouse"] dd').map((dd) => dd.textContent);
  const somewhere = (key: string) =>
    single.includes(key) || words.some((text) => text!.includes(key.replace("+", " + ")));
  expect(keys.filter((key) => !somewhere(key))).toEqual([]);
});

it("gives every control a name", async () => {
  const { all } = await opened();
  const controls = all("button, select, input, textarea, [tabindex='0']");
  expect(controls.length).toBeGreaterThan(40);
  const nameless = controls.filter(
    (each) =>
      !each.closest("[hidden]") &&
      !(each.getAttribute("aria-label") || each.textContent?.trim() || each.closest("label")?.textContent),
  );
  expect(nameless.map(({ outerHTML }) => outerHTML.slice(0, 120))).toEqual([]);
});
