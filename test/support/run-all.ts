import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

/**
 * Runs every suite on everything it is meant for and sums up. What cannot run here is named with
 * the command that runs it; with CI=true that is a failure. The last line is `N passed, N failed`.
 */
interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Whether it is a vitest run, whose results are counted. */
  readonly isSuite: boolean;
  /** Exit code by which the command says that it cannot run here. */
  readonly unavailable?: number;
  /** Runs it alone; said when it was left out. */
  readonly alone?: string;
}

interface Outcome {
  readonly step: Step;
  readonly state: "passed" | "failed" | "left out";
  readonly passed: number;
  readonly failed: number;
  readonly seconds: number;
  /** What failed and how, to be read without going back through all of the output. */
  readonly failures: readonly string[];
}

/** Go beside each other, each with servers of its own. The first says at once what happens, the others at the end of each step. */
const LANES = ["first", "second", "third", "fourth"] as const;
type Lane = (typeof LANES)[number];
const NODE = process.execPath;
const VITEST = "node_modules/vitest/vitest.mjs";
const JITI = "node_modules/jiti/lib/jiti-cli.mjs";
/** Exit code of sysexits for "service unavailable". */
const UNAVAILABLE = 69;
/** Of what the summary repeats of one failure. */
const FAILURE_LENGTH_MAX = 2_000;

const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
/** What does not depend on the version of the server, and what is of one version only. */
const NOT_ON_15: readonly string[] = [
  "test/connectors/embedded/**",
  ...(isNightly
    ? []
    : [
        "test/assess/**",
        "test/draft/**",
        "test/laws/**",
        "test/verify/**",
        "test/faults/**/*.pg.test.ts",
        "test/{examples,proxy,rollout,service,strangler}/**/*.pg.test.ts",
        "test/pipeline/!(replica-identity).pg.test.ts",
        "test/reverse/!(types).pg.test.ts",
        "test/connectors/postgres/{chunks,chunk-sessions,service-store-race}.pg.test.ts",
        "test/properties/**",
        "test/connectors/postgres/{acknowledge,rollout-state,store-close,store-concurrency}.pg.test.ts",
        "test/connectors/postgres/{row-hash-encodings,key-order}.pg.test.ts",
      ]),
];

/** What is reckoned alike by every Node, and what takes long beside others of its kind. */
const NOT_ON_24: readonly string[] = isNightly
  ? []
  : [
      ...["assess", "draft", "laws", "mapping", "model", "properties"].map((of) => `test/${of}/**`),
      ...["parts", "reads", "thread"].map((of) => `test/proxy/shadow-${of}.test.ts`),
      "test/pipeline/chunked-baseline.test.ts",
    ];

const BUILD: Step = {
  name: "build",
  command: ["npm", "run", "--silent", "build"],
  isSuite: false,
};

/** Most tests wait for a server or a clock, so that several go beside each other on few processors. */
const STEPS_OF_LANE: Readonly<Record<Lane, readonly Step[]>> = {
  first: [half("pg", "pg on Postgres 18", 1), half("unit", "unit", 2)],
  second: [half("e2e", "e2e", 1), onPostgres15(), halfOnNode24(2)],
  third: [half("e2e", "e2e", 2), halfOnNode24(1)],
  fourth: [half("pg", "pg on Postgres 18", 2), half("unit", "unit", 1)],
};

function suite(name: string, options: readonly string[]): Step {
  return { name, command: [NODE, VITEST, "run", ...options], isSuite: true };
}

function half(project: string, name: string, part: 1 | 2): Step {
  return suite(`${name}, half ${part}`, ["--project", project, "--shard", `${part}/2`]);
}

function halfOnNode24(part: 1 | 2): Step {
  const leftOut = `BANYAN_TEST_LEFT_OUT=${NOT_ON_24.join(",")}`;
  const node = ["env", leftOut, "npx", "--yes", "--package=node@24", "--", "node"] as const;
  return {
    name: `unit on Node 24, half ${part}`,
    command: [...node, VITEST, "run", "--project", "unit", "--shard", `${part}/2`],
    isSuite: true,
    unavailable: 1,
    alone: "npm run test:node24",
  };
}

function onPostgres15(): Step {
  const server = [NODE, JITI, "test/support/postgres-15.ts"] as const;
  const excluded = NOT_ON_15.flatMap((files) => ["--exclude", files]);
  return {
    name: "pg on Postgres 15",
    command: [...server, NODE, VITEST, "run", "--project", "pg", ...excluded],
    isSuite: true,
    unavailable: UNAVAILABLE,
    alone: "npm run test:pg15",
  };
}

const isCi = process.env["CI"] === "true" || process.env["CI"] === "1";
const reports = mkdtempSync(join(tmpdir(), "banyan-reports-"));
const running = new Set<ReturnType<typeof spawn>>();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    for (const child of running) child.kill(signal);
    process.exit(130);
  });
}

const outcomes: Outcome[] = [];
await inTurn([BUILD], "first");
// Without a build nothing after it would mean anything.
if (outcomes.every(({ step, state }) => step.isSuite || state !== "failed")) {
  await Promise.all(LANES.map((lane) => inTurn(STEPS_OF_LANE[lane], lane)));
}
rmSync(reports, { recursive: true, force: true });
summarise();

async function inTurn(steps: readonly Step[], lane: Lane): Promise<void> {
  for (const step of steps) {
    const outcome = await take(step, lane !== LANES[0]);
    outcomes.push(outcome);
    if (!step.isSuite && outcome.state === "failed") return;
  }
}

/** @param isHeld whether what it says is said in one piece, at its end, because it goes beside another */
async function take(step: Step, isHeld: boolean): Promise<Outcome> {
  const title = `\n== ${step.name}\n`;
  if (!isHeld) process.stdout.write(title);
  const report = join(reports, `${step.name.replaceAll(" ", "-")}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const started = performance.now();
  const command = [...step.command, ...(step.isSuite ? reporters : [])];
  const code = await run(command, isHeld ? title : undefined);
  const seconds = (performance.now() - started) / 1000;
  const done = (
    state: Outcome["state"],
    passed = 0,
    failed = 0,
    failures: readonly string[] = [],
  ): Outcome => ({ step, state, passed, failed, seconds, failures });
  if (!step.isSuite) return code === 0 ? done("passed") : done("failed", 0, 1);
  if (!existsSync(report)) {
    return code === step.unavailable && !isCi ? done("left out") : done("failed", 0, 1);
  }
  const { passed, failures } = resultsOf(report);
  const failed = failures.length === 0 && code !== 0 ? 1 : failures.length;
  return done(failed === 0 ? "passed" : "failed", passed, failed, failures);
}

/** The part of vitest's JSON report that is read. */
interface Report {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** A file that fails as a whole, before or beside its tests, counts as one failure. */
function resultsOf(path: string): { passed: number; failures: string[] } {
  const report = JSON.parse(readFileSync(path, "utf8")) as Report;
  const failures = report.testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(process.cwd(), name);
    const failed = assertionResults.filter((result) => result.status === "failed");
    if (failed.length > 0) {
      return failed.map(
        (result) => `${file}: ${result.fullName}\n${result.failureMessages.join("\n")}`,
      );
    }
    return status === "failed" ? [`${file}: failed as a whole\n${message}`] : [];
  });
  return { passed: report.numPassedTests, failures };
}

/** @param title when given, what the command says is held back until its end and said under this title */
function run(command: readonly string[], title?: string): Promise<number> {
  const [program, ...parameters] = command;
  const output = title === undefined ? "inherit" : "pipe";
  return new Promise((done) => {
    const child = spawn(program!, parameters, { stdio: ["ignore", output, output] });
    running.add(child);
    const said: Buffer[] = [];
    for (const pipe of [child.stdout, child.stderr])
      pipe?.on("data", (data: Buffer) => said.push(data));
    child.once("error", (error) => {
      process.stderr.write(`${program} cannot be run: ${error.message}\n`);
      done(UNAVAILABLE);
    });
    child.once("close", (code) => {
      running.delete(child);
      if (title !== undefined) process.stdout.write(Buffer.concat([Buffer.from(title), ...said]));
      done(code ?? 1);
    });
  });
}

function summarise(): void {
  process.stdout.write("\n");
  for (const { step, failures } of outcomes) {
    for (const failure of failures) {
      const text = failure.slice(0, FAILURE_LENGTH_MAX).replaceAll("\n", "\n  ");
      process.stdout.write(`FAILED on ${step.name}: ${text}\n\n`);
    }
  }
  for (const { step, state, passed, failed, seconds } of outcomes) {
    const counts =
      step.isSuite && state !== "left out" ? ` · ${passed} passed, ${failed} failed` : "";
    const hint = state === "left out" ? `; run it with: ${step.alone}` : "";
    process.stdout.write(`${step.name}: ${state}${counts} (${seconds.toFixed(0)} s)${hint}\n`);
  }
  const sum = (of: (outcome: Outcome) => number): number =>
    outcomes.reduce((total, outcome) => total + of(outcome), 0);
  const failed = sum((outcome) => outcome.failed);
  process.exitCode = failed === 0 ? 0 : 1;
  process.stdout.write(`${sum((outcome) => outcome.passed)} passed, ${failed} failed\n`);
}
