import { expect, test } from "vitest";
import { Turns } from "../../src/runtime/turns.ts";

test("a turn is one's alone, and goes on in the order of asking", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const first = await turns.take();
  const others = ["a", "b"].map(async (name) => {
    const give = await turns.take();
    order.push(name);
    await new Promise((resolve) => setImmediate(resolve));
    order.push(`${name} over`);
    give();
    give();
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual([]);
  first();
  await Promise.all(others);
  expect(order).toEqual(["a", "a over", "b", "b over"]);
  (await turns.take())();
});

test("who gives up waiting holds up nobody", async () => {
  const turns = new Turns();
  const first = await turns.take();
  const stop = new AbortController();
  const left = turns.take(stop.signal);
  const next = turns.take();
  stop.abort(new Error("enough"));
  await expect(left).rejects.toThrow("enough");
  first();
  (await next)();
  await expect(turns.take(AbortSignal.abort(new Error("before")))).rejects.toThrow("before");
});
