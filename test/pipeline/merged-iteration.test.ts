import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { merged } from "../../src/pipeline/merged-iteration.ts";

interface Watch {
  open: number;
  openMax: number;
  pulled: number;
}

function sourcesOf(lengths: readonly number[], watch: Watch, failsAt?: string) {
  return lengths.map(
    (length, source) => () =>
      (async function* (): AsyncGenerator<string, void, void> {
        watch.open += 1;
        watch.openMax = Math.max(watch.openMax, watch.open);
        try {
          for (let i = 0; i < length; i++) {
            await sleep((i * 7 + source * 3) % 4);
            watch.pulled += 1;
            if (failsAt === `${source}/${i}`) throw new Error("it broke");
            yield `${source}/${i}`;
          }
        } finally {
          watch.open -= 1;
        }
      })(),
  );
}

const fresh = (): Watch => ({ open: 0, openMax: 0, pulled: 0 });

test("gives every item of every source once, each source's in its order", async () => {
  const watch = fresh();
  const items: string[] = [];
  for await (const item of merged(sourcesOf([5, 0, 9, 1], watch), 2)) items.push(item);
  for (const [source, length] of [5, 0, 9, 1].entries()) {
    const own = items.filter((item) => item.startsWith(`${source}/`));
    expect(own).toEqual(Array.from({ length }, (_, i) => `${source}/${i}`));
  }
  expect(watch).toMatchObject({ open: 0, openMax: 2 });
});

test("is at most one item of each open source ahead of who pulls", async () => {
  const watch = fresh();
  let taken = 0;
  for await (const _ of merged(sourcesOf([20, 20, 20], watch), 2)) {
    taken += 1;
    await sleep(10);
    expect(watch.pulled - taken).toBeLessThanOrEqual(2);
  }
  expect(taken).toBe(60);
});

test("left early closes what is open and opens no more", async () => {
  const watch = fresh();
  for await (const _ of merged(sourcesOf([20, 20, 20], watch), 2)) break;
  expect(watch.open).toBe(0);
  expect(watch.openMax).toBe(2);
});

test("ends with the first failure, once, and closes the others", async () => {
  const watch = fresh();
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on("unhandledRejection", note);
  try {
    const all = async (): Promise<void> => {
      for await (const _ of merged(sourcesOf([20, 20], watch, "1/2"), 2));
    };
    await expect(all()).rejects.toThrow("it broke");
    await sleep(20);
  } finally {
    process.off("unhandledRejection", note);
  }
  expect(watch.open).toBe(0);
  expect(unhandled).toEqual([]);
});

test("of nothing is nothing", async () => {
  for await (const _ of merged([], 2)) throw new Error("there is nothing");
});
