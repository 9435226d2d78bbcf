/** Light or dark, as the host is, followed live; and the colours of either. */

import { headColour } from "./colour";
import type { Theme } from "./protocol";
import { effect, type Signal, signal } from "./signals";
import type { HeadRef } from "./source";

export interface Palette {
  page: string;
  ink: string;
  muted: string;
  rule: string;
  raised: string;
  accent: string;
  halo: string;
  hatch: string;
  missing: readonly [number, number, number];
  masked: readonly [number, number, number];
}

const LIGHT: Palette = {
  page: "#ffffff",
  ink: "#1b1f24",
  muted: "#5b6470",
  rule: "#d9dee4",
  raised: "#f3f5f7",
  accent: "#b8430a",
  halo: "rgba(255,255,255,.85)",
  hatch: "#c9cfd6",
  missing: [226, 218, 200],
  masked: [236, 238, 241],
};

const DARK: Palette = {
  page: "#111418",
  ink: "#e6e9ed",
  muted: "#9aa4b0",
  rule: "#2c333b",
  raised: "#1b2026",
  accent: "#ffb057",
  halo: "rgba(10,12,15,.8)",
  hatch: "#3b444e",
  missing: [72, 64, 48],
  masked: [32, 37, 43],
};

export function palette(dark: boolean): Palette {
  return dark ? DARK : LIGHT;
}

/** What a head is drawn with beside others: its own hue. Many heads as one have none. */
export const headInk = ({ head, aggregate }: HeadRef, dark: boolean) =>
  aggregate ? palette(dark).ink : headColour(head, dark);

/** Light text means a dark page. */
function byTextColour(element: Element): boolean | null {
  const numbers = getComputedStyle(element)
    .color.match(/[\d.]+/g)
    ?.map(Number);
  if (!numbers || numbers.length < 3) return null;
  const [r, g, b] = numbers as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 140;
}

export function hostIsDark(host: Element): boolean {
  const { body, documentElement: html } = document;
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false";
  const names = [
    body.dataset.theme,
    body.dataset.vscodeThemeKind,
    html.getAttribute("theme"),
    html.dataset.theme,
  ];
  for (const name of names) {
    if (/dark|high-contrast$/.test(name ?? "")) return true;
    if (/light/.test(name ?? "")) return false;
  }
  return byTextColour(host) ?? matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Follows host and trait until disposed. `host` is outside the shadow root, so its colour is the page's. */
export function followTheme(
  host: HTMLElement,
  theme: Signal<Theme>,
): { dark: Signal<boolean>; dispose(): void } {
  const dark = signal(false);
  const update = () => {
    const wanted = theme.peek();
    dark.value = wanted === "auto" ? hostIsDark(host) : wanted === "dark";
  };
  const observer = new MutationObserver(update);
  const attributes = {
    attributes: true,
    attributeFilter: [
      "class",
      "style",
      "theme",
      "data-theme",
      "data-jp-theme-light",
      "data-vscode-theme-kind",
    ],
  };
  observer.observe(document.body, attributes);
  observer.observe(document.documentElement, attributes);
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", update);
  const stop = effect(() => {
    void theme.value;
    update();
  });
  return {
    dark,
    dispose() {
      observer.disconnect();
      media.removeEventListener("change", update);
      stop();
    },
  };
}
