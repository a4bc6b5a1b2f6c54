/**
 * Chaos: a shop under traffic, its capture, and everything that can go wrong around them, at random.
 * What the store holds in the end must be what the shop's own triggers and log say that happened.
 *
 *   npm run chaos [-- --minutes 2 --seed 1 --round-minutes 2 --only "source crash,store crash" --verbose]
 *
 * A run is rounds in worlds of their own; the seed of the next round is one higher. A failure names the
 * one command that repeats its round, and one that repeats what was really done, at its times.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { FAULTS } from "./faults.ts";
import { readRecord, recordOf } from "./record.ts";
import { runRound, type RoundReport } from "./round.ts";
import { describeVariant, variantOf } from "./variant.ts";

const DIST = join(import.meta.dirname, "../../dist");

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    seed: { type: "string" },
    "round-minutes": { type: "string", default: "2" },
    only: { type: "string", default: "" },
    /** Of another build. */
    dist: { type: "string", default: DIST },
    /** The file that a failing round names: its faults, when they began. Its seed and length are those of that round. */
    replay: { type: "string" },
    /** Where to say what each round did; without it, a failing round says it in a file of its own. */
    record: { type: "string" },
    verbose: { type: "boolean", default: false },
  },
});
const { dist } = values;
const replay = values.replay === undefined ? undefined : readRecord(values.replay);
const only = replay?.only ?? values.only.split(",").filter((name) => name !== "");
const minutes = replay?.minutes ?? Number(values.minutes);
const roundMinutes = replay?.minutes ?? Math.min(minutes, Number(values["round-minutes"]));
const firstSeed =
  replay?.seed ?? (values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed));
refuseNonsense();

const end = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.on(name, () => {
    if (end.signal.aborted) return;
    say(`${name}: everything is ended`);
    end.abort();
  });

const rounds = Math.max(1, Math.round(minutes / roundMinutes));
for (let round = 0; round < rounds && !end.signal.aborted; round++) {
  const seed = firstSeed + round;
  const heard: string[] = [];
  const started = performance.now();
  say(`chaos: round ${round + 1} of ${rounds}, ${roundMinutes} minutes, seed ${seed}`);
  say(`${" ".repeat(10)}${describeVariant(variantOf(seed))}`);
  const report = await attempt(seed, heard);
  if (end.signal.aborted) process.exitCode = 130;
  else if (typeof report === "object") {
    summarise(report, (performance.now() - started) / 1000);
    const isGood = report.problems.length === 0;
    const file =
      values.record ?? (isGood ? undefined : join(tmpdir(), `chaos-${seed}-${process.pid}.json`));
    if (file !== undefined) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, recordOf({ seed, minutes: roundMinutes, only }, report));
    }
    if (isGood) continue;
    fail(seed, report.problems, heard, file);
  } else fail(seed, [report], heard, undefined);
  break;
}
// The verdict is told. Nothing that is still open may hold up whoever waits for it.
process.exit();

async function attempt(seed: number, heard: string[]): Promise<RoundReport | string> {
  try {
    return await runRound({
      seed,
      variant: variantOf(seed),
      lengthMs: roundMinutes * 60_000,
      only,
      ...(replay === undefined ? {} : { replayed: replay.plan }),
      dist,
      isComplete: process.env["CI"] === "true",
      say,
      onLine(line) {
        heard.push(line);
        if (heard.length > 80) heard.shift();
        if (values.verbose) say(`          | ${line}`);
      },
      signal: end.signal,
    });
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

function summarise(report: RoundReport, seconds: number): void {
  const { faults, transactions, changes, told, events, compared, starts } = report;
  const done = new Map<string, number>();
  for (const { did, name } of faults) if (did) done.set(name, (done.get(name) ?? 0) + 1);
  say(`faults: ${counts(done)}`);
  const not = faults.filter(({ did }) => !did).map(({ name, text }) => `${name} (${text})`);
  if (not.length > 0) say(`not done: ${not.join(", ")}`);
  say(`captures: ${starts} started; ended by ${counts(report.endings)}`);
  say(`tried again for: ${counts(report.retries)}`);
  say(
    `${transactions} transactions, ${changes} changes audited, ${told} told, ${events} events, ${compared} rows compared, ${seconds.toFixed(0)} s`,
  );
}

function fail(
  seed: number,
  problems: readonly string[],
  heard: readonly string[],
  file: string | undefined,
): void {
  process.exitCode = 1;
  if (!values.verbose) for (const line of heard) say(`          | ${line}`);
  for (const problem of problems) say(`FAILED: ${problem}`);
  const other = dist === DIST ? "" : ` --dist ${JSON.stringify(dist)}`;
  const kinds = only.length === 0 ? "" : ` --only ${JSON.stringify(only.join(","))}`;
  if (values.replay === undefined)
    say(
      `Repeat it: npm run chaos -- --minutes ${roundMinutes} --round-minutes ${roundMinutes} --seed ${seed}${kinds}${other}`,
    );
  if (file !== undefined)
    say(`Repeat what was done, at its times: npm run chaos -- --replay ${file}${other}`);
}

function counts(of: ReadonlyMap<string, number>): string {
  const parts = [...of].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return parts.length === 0 ? "nothing" : parts.map(([name, n]) => `${name} ${n}`).join(", ");
}

function refuseNonsense(): void {
  const unknown = only.find((name) => !FAULTS.some((fault) => fault.name === name));
  const isGood =
    minutes > 0 && roundMinutes > 0 && Number.isSafeInteger(firstSeed) && firstSeed >= 0;
  if (unknown !== undefined || !isGood) {
    say(`There is no such fault or number. Faults: ${FAULTS.map(({ name }) => name).join(", ")}`);
    process.exit(2);
  }
  if (existsSync(join(dist, "src/cli/main.js"))) return;
  say("The program is not built: npm run build");
  process.exit(2);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
