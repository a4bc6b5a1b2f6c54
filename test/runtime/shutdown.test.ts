import { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { EXIT } from "../../src/model/errors.ts";
import { withShutdown, type Scope } from "../../src/runtime/shutdown.ts";

function bench(graceMs = 60_000) {
  const signals = new EventEmitter();
  const exits: number[] = [];
  return {
    signals,
    exits,
    run: <T>(main: (scope: Scope) => Promise<T>): Promise<T> =>
      withShutdown({ graceMs, signals, exit: (code) => void exits.push(code) }, main),
  };
}

/** Ends when its signal does. */
const untilStopped = ({ signal }: Scope): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve());
  });

describe("the first signal", () => {
  test.each(["SIGINT", "SIGTERM"])("%s asks the work to end, and lets it", async (name) => {
    const b = bench();
    const running = b.run(async (scope) => {
      await untilStopped(scope);
      await sleep(20);
      return "drained";
    });
    b.signals.emit(name);
    expect(await running).toBe("drained");
    expect(b.exits).toEqual([]);
  });

  test("gives the work a time of grace, and ends the process after it", async () => {
    const b = bench(30);
    let release!: () => void;
    const running = b.run(() => new Promise<void>((resolve) => (release = resolve)));
    b.signals.emit("SIGTERM");
    await sleep(100);
    expect(b.exits).toEqual([EXIT.graceExpired]);
    release();
    await running;
  });

  test("is forgiven when the work ends in time", async () => {
    const b = bench(30);
    const running = b.run(untilStopped);
    b.signals.emit("SIGINT");
    await running;
    await sleep(60);
    expect(b.exits).toEqual([]);
  });
});

test("a second signal ends the process at once, also while things are released", async () => {
  const b = bench();
  let release!: () => void;
  const running = b.run(async (scope) => {
    scope.defer(() => new Promise<void>((resolve) => (release = resolve)));
    await untilStopped(scope);
  });
  b.signals.emit("SIGINT");
  await sleep(10);
  b.signals.emit("SIGTERM");
  expect(b.exits).toEqual([EXIT.secondSignal]);
  release();
  await running;
});

describe("what was opened", () => {
  test("is released last in, first out, after the work, and each though another fails", async () => {
    const b = bench();
    const steps: string[] = [];
    const running = b.run(async ({ defer }) => {
      defer(() => void steps.push("first"));
      defer(() => {
        steps.push("second");
        throw new Error("the second does not close");
      });
      defer(async () => {
        await sleep(10);
        steps.push("third");
      });
      steps.push("work");
    });
    await expect(running).rejects.toThrow("the second does not close");
    expect(steps).toEqual(["work", "third", "second", "first"]);
  });

  test("is released when the work fails, whose failure is the one that is told", async () => {
    const b = bench();
    const steps: string[] = [];
    const running = b.run(({ defer }) => {
      defer(() => {
        steps.push("released");
        throw new Error("only a consequence");
      });
      return Promise.reject(new Error("the cause"));
    });
    await expect(running).rejects.toThrow("the cause");
    expect(steps).toEqual(["released"]);
  });
});

test("signals are listened to no longer than the work takes", async () => {
  const b = bench();
  expect(await b.run(() => Promise.resolve(7))).toBe(7);
  await expect(b.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(b.signals.listenerCount("SIGINT")).toBe(0);
  expect(b.signals.listenerCount("SIGTERM")).toBe(0);
});
