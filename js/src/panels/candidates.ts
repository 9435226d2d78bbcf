/** The likeliest tokens as bars. One is chosen by click or Enter, and told of also where it is unlikely. */
import { attr, h } from "../dom";
import { formatWeight } from "../format";
import type { Candidate } from "../outputs";
import { ARROWS, on } from "../pointing";
import type { Store } from "../state";

export interface CandidateList {
  element: HTMLElement;
  /** Inside an effect. */
  draw(rows: readonly Candidate[]): void;
}

export function candidateList({ token }: Store): CandidateList {
  const element = h("div", {
    className: "candidates",
    role: "toolbar",
    aria: { label: "Candidates, by arrow keys" },
  });
  const buttons: HTMLButtonElement[] = [];
  let shown: readonly Candidate[] = [];
  /** The one that Tab stops at. */
  let stop = 0;
  const stopAt = (place: number) => {
    stop = Math.max(0, Math.min(place, buttons.length - 1));
    buttons.forEach((each, i) => {
      each.tabIndex = i === stop ? 0 : -1;
    });
  };
  on(element, "focusin", ({ target }) => stopAt(buttons.indexOf(target as HTMLButtonElement)));
  on(element, "keydown", (event) => {
    const by = ARROWS[event.key];
    if (!by) return;
    buttons[stop + by[0] + by[1]]?.focus();
    event.preventDefault();
  });
  const add = () => {
    const button = h("button", { className: "candidate" }, h("bdi"), h("span", {}, h("i")), h("b"));
    const place = buttons.push(button) - 1;
    on(button, "click", () => {
      const { id } = shown[place]!;
      token.value = token.peek() === id ? null : id;
    });
    element.append(button);
  };
  return {
    element,
    draw(rows) {
      shown = rows;
      // Those that are there stay, and the keyboard with them.
      while (buttons.length < rows.length) add();
      for (const spare of buttons.splice(rows.length)) spare.remove();
      rows.forEach(({ id, label, probability, rank }, i) => {
        const button = buttons[i]!;
        const [name, bar, value] = button.children as unknown as HTMLElement[];
        name!.textContent = label;
        (bar!.firstChild as HTMLElement).style.width = `${100 * (probability ?? 0)}%`;
        value!.textContent = probability === null ? "not a number" : formatWeight(probability);
        // The chosen one stands below the likeliest.
        attr(bar!, "data-number", rank > i ? String(rank + 1) : null);
        const chosen = id === token.value;
        attr(button, "aria-pressed", String(chosen));
        button.title = `Token ${id}. ${chosen ? "Chosen" : "Choose it"}, to compare its probability or logit`;
      });
      stopAt(stop);
    },
  };
}
