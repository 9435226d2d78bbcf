import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "happy-dom",
    // A busy machine is slow, not wrong.
    testTimeout: 60_000,
    setupFiles: ["js/test/setup.ts"],
    include: ["js/test/**/*.test.ts"],
  },
});
