import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isNightly } from "../support/crash-capture.ts";
import { startProgram } from "../support/cli.ts";

/**
 * The invariant is that of `npm run chaos`, which says it: whatever happens to a capture and around it,
 * the store holds what the source did, once and in order. A fixed seed, whose baseline is read in chunks and
 * which tables join, and nightly one that is another each time.
 */
const JITI = join(import.meta.dirname, "../../node_modules/jiti/lib/jiti-cli.mjs");
const MAIN = join(import.meta.dirname, "main.ts");
const MINUTES = isNightly ? 10 : 0.25;
const FIXED = 11;
const asked = process.env["BANYAN_TEST_SEED"] ?? "";
const random = isNightly ? [Date.now() % 1_000_000] : [];
const seeds = asked === "" ? [FIXED, ...random] : [Number(asked)];
/** With the time to catch up, which a busy machine needs. */
const RUN_MS_MAX = MINUTES * 60_000 * 3 + 400_000;
/** What a slow machine did not come to has its turn in a round of nothing else, at most so often. */
const ROUNDS_MORE = 3;
/** What the round of the fixed seed has lived through, or it has shown nothing. */
const FAULTS_MIN = [
  "capture killed",
  "two captures",
  "source crash",
  "store crash",
  "source wire cut",
  "store wire cut",
  "slot held by another",
  "clock jump",
  "tables altered",
  "tables join",
  "streams read anew",
];

test.each(seeds)(
  "whatever happens to it, the capture tells everything once and in order: seed %i",
  async (seed) => {
    process.stderr.write(`chaos: BANYAN_TEST_SEED=${seed}\n`);
    const folder = mkdtempSync(join(tmpdir(), "chaos-record-"));
    const file = join(folder, "round.json");
    await expectGood(seed, ["--record", file]);
    // A long run is several rounds in worlds of their own, each of which has its own seed.
    if (seed === FIXED && !isNightly) {
      let missing = missingIn(file, FAULTS_MIN);
      for (let more = 0; more < ROUNDS_MORE && missing.length > 0; more++) {
        await expectGood(seed, ["--record", file, "--only", missing.join(",")]);
        missing = missingIn(file, missing);
      }
      expect(missing).toEqual([]);
    }
    // One that failed is replayed with what is in it.
    rmSync(folder, { recursive: true, force: true });
  },
  (RUN_MS_MAX + 60_000) * (1 + ROUNDS_MORE),
);

async function expectGood(seed: number, more: readonly string[]): Promise<void> {
  const { child, ended } = startProgram([
    ...[JITI, MAIN],
    ...["--minutes", String(MINUTES), "--seed", String(seed), ...more],
  ]);
  // It ends its servers then, and says where it was.
  const timer = setTimeout(() => child.kill("SIGTERM"), RUN_MS_MAX);
  const { exitCode, stdout } = await ended;
  clearTimeout(timer);
  process.stderr.write(stdout);
  expect({ exitCode, said: exitCode === 0 ? "" : stdout }).toEqual({ exitCode: 0, said: "" });
  expect(stdout).toMatch(
    /^\d{3,} transactions, \d{3,} changes audited, \d{3,} told, \d{3,} events, \d{3,} rows/m,
  );
}

/** Which of these a recorded round has not lived through; two captures only with one of them fenced. */
function missingIn(file: string, names: readonly string[]): readonly string[] {
  const { faults, endings } = JSON.parse(readFileSync(file, "utf8")) as {
    readonly faults: readonly { readonly name: string; readonly did: boolean }[];
    readonly endings: Readonly<Record<string, number>>;
  };
  const done = new Set(faults.filter(({ did }) => did).map(({ name }) => name));
  if ((endings["PIPELINE_FENCED"] ?? 0) === 0) done.delete("two captures");
  return names.filter((name) => !done.has(name));
}
