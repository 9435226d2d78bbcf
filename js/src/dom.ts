/** Elements without a template language: text is always text. */
type Props<K extends keyof HTMLElementTagNameMap> = Partial<
  Omit<HTMLElementTagNameMap[K], "style" | "dataset" | "children">
> & { aria?: Record<string, string>; data?: Record<string, string> };

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props<K> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const { aria, data, ...rest } = props as Props<"div">;
  const element = document.createElement(tag);
  Object.assign(element, rest);
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${name}`, value);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

/** A button whose sign says nothing when it is read out. */
export function iconButton(sign: string, title: string, className = ""): HTMLButtonElement {
  return h("button", { className, title, aria: { label: title } }, sign);
}

/** Sets an attribute, or takes it away for null; untouched if it is the same. */
export function attr(element: Element, name: string, value: string | null): void {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}
