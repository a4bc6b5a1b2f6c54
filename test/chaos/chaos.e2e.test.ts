import { join } from "node:path";
import { expect, test } from "vitest";
import { isNightly } from "../support/crash-capture.ts";
import { startProgram } from "../support/cli.ts";

/**
 * The invariant is that of `npm run chaos`, which says it: whatever happens to a capture and around it,
 * the store holds what the source did, once and in order. A fixed seed, and nightly one that is another each time.
 */
const JITI = join(import.meta.dirname, "../../node_modules/jiti/lib/jiti-cli.mjs");
const MAIN = join(import.meta.dirname, "main.ts");
const MINUTES = isNightly ? 10 : 0.3;
const asked = process.env["BANYAN_TEST_SEED"] ?? "";
const random = isNightly ? [Date.now() % 1_000_000] : [];
const seeds = asked === "" ? [11, ...random] : [Number(asked)];
/** With the time to catch up, which a busy machine needs. */
const RUN_MS_MAX = MINUTES * 60_000 * 2 + 240_000;

test.each(seeds)(
  "whatever happens to it, the capture tells everything once and in order: seed %i",
  async (seed) => {
    process.stderr.write(`chaos: BANYAN_TEST_SEED=${seed}\n`);
    const { child, ended } = startProgram([
      ...[JITI, MAIN],
      ...["--minutes", String(MINUTES), "--seed", String(seed)],
    ]);
    // It ends its servers then, and says where it was.
    const timer = setTimeout(() => child.kill("SIGTERM"), RUN_MS_MAX);
    const { exitCode, stdout } = await ended;
    clearTimeout(timer);
    process.stderr.write(stdout);
    expect({ exitCode, said: exitCode === 0 ? "" : stdout }).toEqual({ exitCode: 0, said: "" });
    expect(stdout).toMatch(
      /^\d{3,} transactions, \d{3,} changes audited, \d{3,} events, \d{3,} rows/m,
    );
  },
  RUN_MS_MAX + 60_000,
);
