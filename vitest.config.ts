import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { temporaryFolder } from "./test/support/temporary-folder.ts";

/** The suffix of a test file says what it needs: a Postgres, or the built CLI and a Postgres. */
const SUFFIXES = ["pg", "e2e"] as const;

const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
/** How much longer a test may take whose budget is larger. */
const TIMES = isNightly ? 15 : 1;

// Of the tests and of all that they start. What goes on for hours writes more than belongs into memory.
if (!isNightly) process.env["TMPDIR"] = temporaryFolder();

/** Files of the unit tests that are left out, by comma: test/support/run-all.ts does on a second Node. */
const LEFT_OUT = (process.env["BANYAN_TEST_LEFT_OUT"] ?? "").split(",").filter((one) => one !== "");

/** As a config and a service import it. */
const alias = { banyan: resolve(import.meta.dirname, "src/index.ts") };

export default defineConfig({
  test: {
    projects: [
      {
        resolve: { alias },
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [...SUFFIXES.map((suffix) => `test/**/*.${suffix}.test.ts`), ...LEFT_OUT],
          testTimeout: TIMES * 120_000,
          hookTimeout: 60_000,
        },
      },
      ...SUFFIXES.map((name) => ({
        resolve: { alias },
        test: {
          name,
          include: [`test/**/*.${name}.test.ts`],
          globalSetup: ["./test/support/postgres.ts"],
          // One server serves all of them, and its limits and its log are shared.
          fileParallelism: false,
          testTimeout: TIMES * 300_000,
          hookTimeout: 300_000,
        },
      })),
    ],
  },
});
