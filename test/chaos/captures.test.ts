import { tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Captures } from "./captures.ts";

/** Processes that say and do what a capture might. */
function capturesOf(script: string, heard: string[] = []): Captures {
  const onLine = (line: string): void => void heard.push(line);
  return new Captures({ args: ["-e", script], directory: tmpdir(), env: {}, onLine });
}

interface Listening {
  readonly captures: Captures;
  readonly heard: string[];
}

const say = (line: string, exitCode: number): string =>
  `process.stderr.write(${JSON.stringify(`${line}\n`)}); process.exitCode = ${exitCode};`;
/** Goes on until SIGTERM, then ends so. */
const runs = (exitCode: number): string =>
  `setInterval(() => {}, 1000); process.once("SIGTERM", () => process.exit(${exitCode})); process.stderr.write("begun\\n");`;

/** Runs one to its own end. */
async function problemsOf(script: string): Promise<readonly string[]> {
  await using captures = capturesOf(script);
  captures.start();
  await untilEnded(captures);
  return captures.problems;
}

async function untilEnded(captures: Captures): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (captures.alive > 0 && Date.now() < deadline) await sleep(10);
  expect(captures.alive).toBe(0);
}

/** Its handler of SIGTERM is there once it has said something. */
async function running({ captures, heard }: Listening): Promise<void> {
  heard.length = 0;
  captures.start();
  const deadline = Date.now() + 20_000;
  while (heard.length === 0 && Date.now() < deadline) await sleep(10);
  expect(heard).toEqual(["begun"]);
}

describe("the end of a capture is a problem", () => {
  test.each([
    ["by itself", say("", 0)],
    ["with an exit code that is not documented", say("what now", 3)],
    ["as a bug", say("banyan: [INVARIANT_BROKEN] no", 70)],
    ["with a code that is not documented", say("banyan: [WHAT_NOW] no", 4)],
    ["with another exit code than its code's", say("banyan: [STORE_REFUSED] no", 2)],
    ["with an error that nothing explains", say("banyan: [STORE_REFUSED] no", 4)],
    ["fenced, although it was alone", say("banyan: [PIPELINE_FENCED] no", 4)],
    ["with a stack trace", say("banyan: [STORE_REFUSED] no\n    at f (file.js:1:2)", 4)],
    [
      "by a signal that is not ours",
      "process.kill(process.pid, 'SIGABRT'); setInterval(() => {}, 1000)",
    ],
  ])("%s", async (_, script) => {
    expect(await problemsOf(script)).toHaveLength(1);
  });
});

describe("the end of a capture is none", () => {
  test("when it is killed, or ends after SIGTERM", async () => {
    const heard: string[] = [];
    await using captures = capturesOf(runs(0), heard);
    await running({ captures, heard });
    await captures.kill();
    await running({ captures, heard });
    await captures.terminate();
    expect(captures.problems).toEqual([]);
    expect(Object.fromEntries(captures.endings)).toEqual({ SIGKILL: 1, "exit 0": 1 });
  });

  test("when what was done explains it, and for a while after", async () => {
    await using captures = capturesOf(say("banyan: [STORE_REFUSED] disk full", 4));
    const explained = captures.explain("STORE_REFUSED", 10_000);
    captures.start();
    await untilEnded(captures);
    explained[Symbol.dispose]();
    captures.start();
    await untilEnded(captures);
    expect(captures.problems).toEqual([]);
    expect(captures.endings.get("STORE_REFUSED")).toBe(2);
  });

  test("when it was told to kill itself", async () => {
    await using captures = capturesOf(
      "process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1000)",
    );
    captures.start({ failpoint: "batch-staged:1", log: "" });
    await untilEnded(captures);
    expect(captures.problems).toEqual([]);
    captures.start();
    await untilEnded(captures);
    expect(captures.problems).toHaveLength(1);
  });

  test("when it is fenced, and was not alone", async () => {
    await using captures = capturesOf(
      `setTimeout(() => { ${say("banyan: [PIPELINE_FENCED] no", 4)} }, 300)`,
    );
    captures.start();
    captures.start();
    await untilEnded(captures);
    expect(captures.problems).toEqual([]);
  });
});

test("it is started again whenever it has ended, unless that is held", async () => {
  await using captures = capturesOf(runs(0));
  captures.supervise();
  expect(await captures.one(10_000)).toBe(true);
  await captures.kill();
  expect(await captures.one(10_000)).toBe(true);
  {
    using _ = captures.hold();
    await captures.kill();
    await sleep(600);
    expect(captures.alive).toBe(0);
  }
  expect(await captures.one(10_000)).toBe(true);
  expect(captures.starts).toBe(3);
});

test("what is tried again is counted by its code", async () => {
  await using captures = capturesOf(
    say(
      "[SLOT_IN_USE] held; trying again in 250 ms\n[SLOT_IN_USE] held; trying again in 500 ms",
      0,
    ),
  );
  captures.start();
  await untilEnded(captures);
  expect(captures.retries.get("SLOT_IN_USE")).toBe(2);
});
