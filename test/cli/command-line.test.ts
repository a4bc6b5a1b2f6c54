import { expect, test } from "vitest";
import { runCommandLine } from "../../src/cli/command-line.ts";
import { summaryOf } from "../../src/cli/commands/run.ts";
import { EMPTY_LEDGER } from "../../src/pipeline/status.ts";

/** In a folder without a config, whatever is understood ends with CONFIG_NOT_FOUND. */
async function codeOf(line: string): Promise<string> {
  const words = line.split(" ").filter((word) => word !== "");
  return await runCommandLine([...words, "--config", "nowhere"]).then(
    () => "done",
    (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
  );
}

test.each([
  "verify --wait abc",
  "verify --wait -1",
  "verify --wait 1e9",
  "verify --samples 1.5",
  "state ticket-1 --version 0",
  "state ticket-1 --version x",
])("a number that is none, or out of bounds, is refused: %s", async (line) => {
  expect(await codeOf(line)).toMatch(/^USAGE: --\w+ is a whole number from \d+ to \d+$/);
});

test.each(["state ticket-1 --version", "verify --samples", "check --config"])(
  "an option without its value is refused, and not taken for its default: %s",
  async (line) => {
    await expect(runCommandLine(line.split(" "))).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringMatching(/^--\w+ needs a value$/) as string,
    });
  },
);

test.each([
  ["history", "<stream>"],
  ["assess", "<url>"],
  ["quarantine", "<action>"],
  ["rollout promote", "<type>"],
])("an argument that is missing is named: %s", async (line, missing) => {
  expect(await codeOf(line)).toBe(`USAGE: the argument ${missing} is missing`);
});

test("an option that takes one value is refused when it is given twice", async () => {
  expect(await codeOf("check --config other")).toBe("USAGE: --config was given more than once");
  expect(await codeOf("state a --at 2026 --at 2027")).toBe("USAGE: --at was given more than once");
  expect(await codeOf("verify --json --json")).toMatch(/^CONFIG_NOT_FOUND/);
  const assess = "assess mysql://h/d --schema a --schema b".split(" ");
  await expect(runCommandLine(assess)).rejects.toThrow(/does not begin with postgres/);
});

test.each([
  "verify --wait 0",
  "verify --wait 5 --samples 3 --show-values",
  "state ticket-1 --version 2",
  "state ticket-1 --at 2026-01-31T10:00:00Z",
  "history ticket-1",
  "quarantine skip ticket-1",
])("is understood: %s", async (line) => {
  expect(await codeOf(line)).toMatch(/^CONFIG_NOT_FOUND/);
});

test.each(["frob", "check --frob", "history", "quarantine drop", "state a --at b --version 1"])(
  "is refused with the help to look at: %s",
  async (line) => {
    const refused = runCommandLine([...line.split(" "), "--config", "nowhere"]);
    await expect(refused).rejects.toMatchObject({
      code: "USAGE",
      hint: expect.stringMatching(/^See: banyan (\w+ )?--help$/) as string,
    });
  },
);

test("a run that was stopped before its baseline says that nothing is kept", () => {
  const positions = { checkpoint: undefined, baseline: undefined, head: undefined };
  expect(summaryOf({ ledger: EMPTY_LEDGER, positions })).toMatch(/nothing is kept/);
});
