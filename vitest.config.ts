import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "happy-dom",
    setupFiles: ["js/test/setup.ts"],
    include: ["js/test/**/*.test.ts"],
  },
});
