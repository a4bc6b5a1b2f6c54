import { describe, expect, test } from "vitest";
import { FAILPOINTS } from "../../src/runtime/failpoint.ts";
import { CONFIG, SHAPES, chunkBench, envOf, startTraffic } from "../support/chunk-bench.ts";
import { configFolder, runCli, startCli } from "../support/cli.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

const ROWS = 200;
/** One `banyan rebaseline` is killed at each; nothing of it may be left. */
const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
/** The other one differs in which images are kept, which random histories try for both. */
const IDENTITIES = NIGHTLY ? (["full", "default"] as const) : (["default"] as const);
const POINTS = [
  "rebaseline-slot-created:1",
  "batch-staged:2",
  "rebaseline-before-commit:1",
  "batch-commit-sent:1",
];

/** Likewise of one in chunks; behind the second, each goes on where the one before was killed. */
const CHUNKED_POINTS = [
  "rebaseline-before-commit:1",
  "rebaseline-after-commit:1",
  "rebaseline-images-forgotten:2",
  "chunk-opened:1",
  "chunk-staged:3",
  "chunk-before-commit:2",
  "batch-commit-sent:5",
  "chunk-after-commit:3",
  "batch-after-commit:3",
  "chunk-before-commit:4",
];

describe("banyan rebaseline", () => {
  test("after a lost slot is done once and whole, wherever it is killed, and says what it will do first", async () => {
    await using b = await chunkBench("default", ROWS);
    using folder = configFolder(CONFIG);
    const env = envOf(b);
    const options = { cwd: folder.directory, env };
    const toTheEnd = ["run", "--until-caught-up", "--json"];
    expect(await runCli(toTheEnd, options)).toMatchObject({ exitCode: 0 });
    const early = await runCli(["rebaseline", "--yes"], options);
    expect(early).toMatchObject({ exitCode: 2, stdout: "" });
    expect(early.stderr).toContain("the place in the log is not lost");

    await b.sql(`SELECT pg_drop_replication_slot('${b.db.slot}')`);
    await b.sql("UPDATE ticket SET n = n + 1; DELETE FROM ticket WHERE id = 3");
    const lost = await runCli(toTheEnd, options);
    expect(lost).toMatchObject({ exitCode: 4 });
    expect(lost.stderr).toMatch(/\[SLOT_LOST\][\s\S]*banyan rebaseline/);
    const unasked = await runCli(["rebaseline", "--json"], options);
    expect(unasked).toMatchObject({ exitCode: 2, stdout: "" });
    expect(unasked.stderr).toMatch(/does not exist[\s\S]*HistoryGapped[\s\S]*--yes/);

    const busy = await startTraffic(b, seededRandom(4), ROWS);
    for (const point of POINTS) {
      const failing = { ...options, env: { ...env, BANYAN_FAILPOINT: point } };
      const killed = await runCli(["rebaseline", "--yes", "--json"], failing);
      expect({ point, ...killed }).toMatchObject({ point, signal: "SIGKILL" });
    }
    const done = await runCli(["rebaseline", "--yes", "--json"], options);
    // The last one was killed when the store may have had it all.
    if (done.exitCode === 0) {
      const document = JSON.parse(done.stdout) as { asked: number; restated: number; gone: number };
      expect(document.asked).toBe(document.restated + document.gone);
    } else expect(done.stderr).toContain("the place in the log is not lost");
    const running = startCli(["run"], options);
    await busy.stop();
    const asked = await runCli(
      ["rebaseline", "--stream", "ticket-5", "ticket-6", "--type", "parcel", "--yes", "--json"],
      options,
    );
    expect({ code: asked.exitCode, said: asked.exitCode === 0 ? "" : asked.stderr }).toEqual({
      code: 0,
      said: "",
    });
    expect((JSON.parse(asked.stdout) as { asked: number }).asked).toBeGreaterThan(ROWS);
    const verified = await runCli(["verify", "--json"], options);
    running.child.kill("SIGINT");
    await running.ended;
    expect([verified.exitCode, JSON.parse(verified.stdout)]).toMatchObject([
      0,
      { state: "equal", missing: 0, extra: 0, different: 0 },
    ]);
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    // Asked for when the config still had the type: settled by whoever comes next, and holds up nobody.
    await b.store.requestRebaseline("chunks", ["other-1"], "of a type that has left");
    // Nothing runs, so it is done here; once for each stream.
    const alone = await runCli(["rebaseline", "--stream", "ticket-7", "--yes", "--json"], options);
    expect(alone).toMatchObject({ exitCode: 0 });
    expect(await b.store.rebaselineRequests("chunks", "0", 1)).toEqual([]);
    const gaps: string[] = [];
    for await (const { type } of b.store.readStream("ticket-7")) gaps.push(type);
    expect(gaps.filter((type) => type === "TicketHistoryGapped")).toHaveLength(2);
    const wrong = await runCli(
      ["rebaseline", "--stream", "nothing-7", "ticket-abc", "--yes"],
      options,
    );
    expect(wrong).toMatchObject({ exitCode: 2, stdout: "" });
    expect(wrong.stderr).toMatch(/nothing-7: [\s\S]*ticket-abc: "abc" is not a whole number/);
  }, 600_000);
});

describe.each(IDENTITIES)("with replica identity %s", (identity) => {
  test("a rebaseline in chunks goes on behind its last chunk, wherever it is killed, and whichever command goes on with it", async () => {
    const rows = 1_000;
    await using b = await chunkBench(identity, rows);
    using folder = configFolder(CONFIG);
    const env = envOf(b);
    const options = { cwd: folder.directory, env };
    expect(await runCli(["run", "--until-caught-up", "--json"], options)).toMatchObject({
      exitCode: 0,
    });
    const { checkpoint } = (await b.store.pipeline("chunks"))!;
    await b.sql(`SELECT pg_drop_replication_slot('${b.db.slot}')`);
    await b.sql(`UPDATE ticket SET n = n + 1; UPDATE remark SET ticket_id = 5 WHERE id % 7 = 0;
      DELETE FROM ticket WHERE id % 10 = 3; DELETE FROM remark WHERE ticket_id % 10 = 3;
      DELETE FROM customer WHERE id IN (SELECT id FROM customer ORDER BY id LIMIT 50)`);
    const busy = await startTraffic(b, seededRandom(4), rows);
    const anew = ["rebaseline", "--yes", "--baseline", "chunked", "--json"];
    let read = 0;
    for (const [n, point] of CHUNKED_POINTS.entries()) {
      const failing = { ...options, env: { ...env, BANYAN_FAILPOINT: point } };
      // What was begun is anybody's to go on with.
      const command = n > 1 && n % 2 === 0 ? ["run", "--json"] : anew;
      const killed = await runCli(command, failing);
      expect({ point, ...killed }).toMatchObject({ point, signal: "SIGKILL" });
      const { baselines = [] } = (await b.store.pipeline("chunks"))!;
      const now = baselines.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
      expect({ point, isKept: now >= read }).toEqual({ point, isKept: true });
      read = now;
    }
    expect(read).toBeGreaterThan(0);
    const unfinished = await runCli(["verify", "--json"], options);
    expect(unfinished).toMatchObject({ exitCode: 4 });
    expect(unfinished.stdout).toContain("the baseline is not finished");
    const done = await runCli(["rebaseline", "--json"], options);
    expect({ code: done.exitCode, said: done.exitCode === 0 ? "" : done.stderr }).toEqual({
      code: 0,
      said: "",
    });
    expect(done.stderr).toMatch(
      /in chunks beside the log: as asked for with --baseline chunked; it goes on behind \d+ chunks?/,
    );
    const document = JSON.parse(done.stdout) as Record<"restated" | "gone", number>;
    expect(document).toMatchObject({ from: checkpoint });
    expect(document).not.toHaveProperty("unfinished");
    await busy.stop();
    expect(await runCli(["run", "--until-caught-up", "--json"], options)).toMatchObject({
      exitCode: 0,
    });
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    let [restated, gone] = [0, 0];
    for (const type of Object.keys(SHAPES)) {
      let last = "";
      for await (const events of b.store.readStreamType(type, AbortSignal.timeout(60_000))) {
        for (const { stream, data } of events) {
          const { $gap: gap } = data as { $gap?: { isGone: boolean } };
          if (gap === undefined) continue;
          expect(stream).not.toBe(last);
          last = stream;
          if (gap.isGone) gone += 1;
          else restated += 1;
        }
      }
    }
    expect(document).toMatchObject({ restated, gone });
    expect(gone).toBeGreaterThan(100);
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

test("every point of a rebaseline is among these", () => {
  const names = new Set([...POINTS, ...CHUNKED_POINTS].map((point) => point.split(":")[0]));
  const own = FAILPOINTS.filter((name) => name.startsWith("rebaseline-"));
  expect(own.length).toBeGreaterThan(1);
  expect(own.filter((name) => !names.has(name))).toEqual([]);
});
