import { describe, expect, test } from "vitest";
import { FAILPOINTS } from "../../src/runtime/failpoint.ts";
import { CONFIG, SHAPES, chunkBench, envOf, startTraffic } from "../support/chunk-bench.ts";
import { configFolder, runCli, startCli } from "../support/cli.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

/*
 * The invariant: a baseline in chunks is killed wherever it is, beside live traffic, and started again: it
 * goes on behind the last chunk that was written, every aggregate has its baseline once, no change is told
 * twice or left out, and rows and folds are equal in the end.
 */

const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
/** The other one differs in which images are kept, which random histories try for both. */
const IDENTITIES = NIGHTLY ? (["full", "default"] as const) : (["default"] as const);
const ROWS = NIGHTLY ? 4_000 : 1_200;
const RANDOM_KILLS = NIGHTLY ? 25 : 4;

/** One run is killed at each. */
const POINTS = [
  "baseline-before-commit:1",
  "baseline-after-commit:1",
  "chunk-opened:1",
  "chunk-staged:3",
  "chunk-before-commit:2",
  "batch-commit-sent:4",
  "chunk-after-commit:3",
  "chunk-opened:4",
  "batch-after-commit:3",
  "chunk-before-commit:5",
];

describe.each(IDENTITIES)("with replica identity %s", (identity) => {
  test("a baseline in chunks goes on where it stood, wherever it is killed", async () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
    process.stderr.write(`seed ${seed}\n`);
    const random = seededRandom(seed);
    await using b = await chunkBench(identity, ROWS);
    using folder = configFolder(CONFIG);
    const env = envOf(b);
    const options = { cwd: folder.directory, env };
    const busy = await Promise.all(
      [1, 2].map((i) => startTraffic(b, seededRandom(seed * 10 + i), ROWS)),
    );
    const run = ["run", "--baseline", "chunked", "--json"];
    let read = 0;
    const expectKept = async (at: string): Promise<void> => {
      const record = await b.store.pipeline("chunks");
      const rows = (record?.baselines ?? []).reduce((sum, { rowsRead }) => sum + rowsRead, 0);
      expect({ at, isKept: rows >= read }).toEqual({ at, isKept: true });
      read = rows;
    };
    for (const point of POINTS) {
      const killed = await runCli(run, { ...options, env: { ...env, BANYAN_FAILPOINT: point } });
      expect({ point, ...killed }).toMatchObject({ point, signal: "SIGKILL" });
      await expectKept(point);
    }
    expect(read).toBeGreaterThan(0);
    for (let n = 0; n < RANDOM_KILLS; n++) {
      const running = startCli(run, options);
      const delayMs = 400 + 1_600 * random();
      const timer = setTimeout(() => running.child.kill("SIGKILL"), delayMs);
      await running.ended;
      clearTimeout(timer);
      await expectKept(`${Math.round(delayMs)} ms`);
    }
    for (const one of busy) await one.stop();
    const done = await runCli([...run, "--until-caught-up"], options);
    expect({ code: done.exitCode, said: done.exitCode === 0 ? "" : done.stderr }).toEqual({
      code: 0,
      said: "",
    });
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    const running = startCli(["run"], options);
    const verified = await runCli(["verify", "--json"], options);
    running.child.kill("SIGINT");
    await running.ended;
    expect([verified.exitCode, JSON.parse(verified.stdout)]).toMatchObject([
      0,
      { state: "equal", missing: 0, extra: 0, different: 0 },
    ]);
  }, 600_000);
});

test("every point of a chunk is among these", () => {
  const names = new Set(POINTS.map((point) => point.split(":")[0]));
  const ofChunks = FAILPOINTS.filter((name) => name.startsWith("chunk-"));
  expect(ofChunks.length).toBeGreaterThan(3);
  expect(ofChunks.filter((name) => !names.has(name))).toEqual([]);
});
