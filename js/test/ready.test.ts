import { afterEach, expect, it, vi } from "vitest";
import { frame, madeUp, screen, text, view } from "./screen";

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

it("is ready again when what was missing has come, also where that changes nothing that is drawn", async () => {
  screen();
  let here = true;
  const made = { ...madeUp({ queries: 3, keys: 3 }, () => 0.3), has: () => here };
  const { root } = await view({ queries: text(3) }, made, { panels: ["detail"] });
  expect(root.dataset.ready).toBe("true");
  here = false;
  made.version.value++;
  await frame();
  expect(root.dataset.ready).toBe("false");
  here = true;
  made.version.value++;
  await frame();
  expect(root.dataset.ready).toBe("true");
});

it("is ready again after a host hid it in one frame, and told nobody", async () => {
  screen();
  let here = false;
  const made = { ...madeUp({ queries: 3, keys: 3 }, () => 0.3), has: () => here };
  const { root } = await view({ queries: text(3) }, made, { panels: ["detail"] });
  const width = vi.spyOn(root, "clientWidth", "get").mockReturnValue(0);
  here = true;
  made.version.value++;
  await frame();
  expect(root.dataset.ready).toBe("false");
  width.mockReturnValue(900);
  await vi.waitFor(() => expect(root.dataset.ready).toBe("true"));
});
