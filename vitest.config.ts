import { defineConfig } from "vitest/config";

/** The suffix says what a test needs; see docs/development.md. */
const needs = ["pg", "e2e"] as const;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: needs.map((suffix) => `test/**/*.${suffix}.test.ts`),
          testTimeout: 60_000,
        },
      },
      ...needs.map((name) => ({
        test: {
          name,
          include: [`test/**/*.${name}.test.ts`],
          globalSetup: ["./test/support/postgres.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      })),
    ],
  },
});
