import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

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
}

const NODE = process.execPath;
const VITEST = "node_modules/vitest/vitest.mjs";
const JITI = "node_modules/jiti/lib/jiti-cli.mjs";
/** Exit code of sysexits for "service unavailable". */
const UNAVAILABLE = 69;

const STEPS: readonly Step[] = [
  { name: "build", command: ["npm", "run", "--silent", "build"], isSuite: false },
  { name: "unit", command: [NODE, VITEST, "run", "--project", "unit"], isSuite: true },
  { name: "pg on Postgres 18", command: [NODE, VITEST, "run", "--project", "pg"], isSuite: true },
  {
    name: "pg on Postgres 15",
    command: [
      ...([
        NODE,
        JITI,
        "test/support/postgres-15.ts",
        NODE,
        VITEST,
        "run",
        "--project",
        "pg",
      ] as const),
      // The embedded server is of one version only.
      ...["--exclude", "test/connectors/embedded/**"],
    ],
    isSuite: true,
    unavailable: UNAVAILABLE,
    alone: "npm run test:pg15",
  },
  { name: "e2e", command: [NODE, VITEST, "run", "--project", "e2e"], isSuite: true },
  {
    name: "unit on Node 24",
    command: [
      "npx",
      "--yes",
      "--package=node@24",
      "--",
      "node",
      VITEST,
      "run",
      "--project",
      "unit",
    ],
    isSuite: true,
    unavailable: 1,
    alone: "npm run test:node24",
  },
];

const isCi = process.env["CI"] === "true" || process.env["CI"] === "1";
const reports = mkdtempSync(join(tmpdir(), "banyan-reports-"));
let running: ReturnType<typeof spawn> | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    running?.kill(signal);
    process.exit(130);
  });
}

const outcomes: Outcome[] = [];
for (const step of STEPS) {
  const outcome = await take(step);
  outcomes.push(outcome);
  if (!step.isSuite && outcome.state === "failed") break; // Nothing after it would mean anything.
}
rmSync(reports, { recursive: true, force: true });
summarise();

async function take(step: Step): Promise<Outcome> {
  process.stdout.write(`\n== ${step.name}\n`);
  const report = join(reports, `${step.name.replaceAll(" ", "-")}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const started = performance.now();
  const code = await run([...step.command, ...(step.isSuite ? reporters : [])]);
  const seconds = (performance.now() - started) / 1000;
  const done = (state: Outcome["state"], passed = 0, failed = 0): Outcome => ({
    step,
    state,
    passed,
    failed,
    seconds,
  });
  if (!step.isSuite) return code === 0 ? done("passed") : done("failed", 0, 1);
  if (!existsSync(report)) {
    return code === step.unavailable && !isCi ? done("left out") : done("failed", 0, 1);
  }
  const { passed, failed } = countsOf(report);
  const failures = failed === 0 && code !== 0 ? 1 : failed;
  return done(failures === 0 ? "passed" : "failed", passed, failures);
}

/** The part of vitest's JSON report that is counted. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

/** A file that fails as a whole, before or beside its tests, counts as one failure. */
function countsOf(path: string): { passed: number; failed: number } {
  const report = JSON.parse(readFileSync(path, "utf8")) as Report;
  const brokenFiles = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === "failed" && !assertionResults.some((result) => result.status === "failed"),
  );
  return { passed: report.numPassedTests, failed: report.numFailedTests + brokenFiles.length };
}

function run(command: readonly string[]): Promise<number> {
  const [program, ...parameters] = command;
  return new Promise((done) => {
    running = spawn(program!, parameters, { stdio: ["ignore", "inherit", "inherit"] });
    running.once("error", (error) => {
      process.stderr.write(`${program} cannot be run: ${error.message}\n`);
      done(UNAVAILABLE);
    });
    running.once("exit", (code) => done(code ?? 1));
  });
}

function summarise(): void {
  process.stdout.write("\n");
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
