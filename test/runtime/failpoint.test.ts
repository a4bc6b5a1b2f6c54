import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, existsSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FAILPOINTS } from "../../src/runtime/failpoint.ts";

const MODULE = join(import.meta.dirname, "../../src/runtime/failpoint.ts");
const JITI = join(import.meta.dirname, "../../node_modules/jiti/lib/jiti-cli.mjs");

/** Passes two points three times each in a process of its own. */
function pass(wanted: string | undefined, log?: string) {
  const body = `import { failpoint } from ${JSON.stringify(MODULE)};
    for (let i = 0; i < 3; i++) {
      failpoint("batch-mapped"); process.stdout.write("m");
      failpoint("batch-staged"); process.stdout.write("s");
    }`;
  const environment = { ...process.env, BANYAN_FAILPOINT: wanted, BANYAN_FAILPOINT_LOG: log };
  const directory = mkdtempSync(join(tmpdir(), "banyan-failpoint-"));
  try {
    const file = join(directory, "pass.mjs");
    const script = `import { createJiti } from ${JSON.stringify(JITI.replace("jiti-cli.mjs", "jiti.mjs"))};
      const jiti = createJiti(import.meta.url);
      await jiti.evalModule(${JSON.stringify(body)}, { filename: ${JSON.stringify(file)}, async: true });`;
    const args = ["--input-type=module", "-e", script];
    const { stdout, signal, status } = spawnSync(process.execPath, args, {
      env: environment,
      encoding: "utf8",
      timeout: 30_000,
    });
    return { stdout, signal, status };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("does nothing unless it is asked for", () => {
  expect(pass(undefined)).toEqual({ stdout: "msmsms", signal: null, status: 0 });
  expect(pass("large-spilled")).toEqual({ stdout: "msmsms", signal: null, status: 0 });
});

test("ends the process as a kill does, at the passing that was asked for, and says so before", () => {
  const directory = mkdtempSync(join(tmpdir(), "banyan-failpoint-"));
  const log = join(directory, "log");
  try {
    expect(pass("batch-staged", log)).toMatchObject({ stdout: "m", signal: "SIGKILL" });
    expect(readFileSync(log, "utf8")).toBe("batch-staged\n");
    rmSync(log);
    expect(pass("batch-mapped:3", log)).toMatchObject({ stdout: "msms", signal: "SIGKILL" });
    expect(readFileSync(log, "utf8")).toBe("batch-mapped\n");
    rmSync(log);
    expect(pass("batch-mapped:4", log)).toMatchObject({ stdout: "msmsms", status: 0 });
    expect(existsSync(log)).toBe(false);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("has a name of its own everywhere", () => {
  expect(new Set(FAILPOINTS).size).toBe(FAILPOINTS.length);
  for (const name of FAILPOINTS) expect(name).toMatch(/^[a-z]+(-[a-z]+)+$/);
});
