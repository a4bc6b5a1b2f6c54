import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { batchOf, event, tailing } from "../../contract/event-batches.ts";
import type { RecordedEvent } from "../../../src/model/event.ts";
import type { FeedCursor } from "../../../src/store/event-store.ts";

const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const MB = 1024 * 1024;
const never = new AbortController().signal;

/** Text that no compression makes smaller. */
function noise(bytes: number): string {
  return randomBytes((bytes * 3) / 4).toString("base64");
}

test("events of many megabytes are written and read back in pages of bounded size", async () => {
  await using opened = await openTestStore("large");
  const { store } = opened;
  const count = NIGHTLY ? 30 : 4;
  const texts = Array.from({ length: count }, () => noise(8 * MB));
  const writer = await store.openCapture("shop", "test://source");
  // Few events, but more than one statement should carry.
  const said = texts.map((text, i) => ({ stream: "order-1", version: i + 1, data: { text } }));
  await writer.stage({ events: batchOf(said) });
  await writer.commit(tailing(1));
  await writer.close();

  let at = 0;
  for await (const { data } of store.readStream("order-1")) {
    expect(data["text"] === texts[at]).toBe(true);
    at += 1;
  }
  expect(at).toBe(count);

  let pages = 0;
  let cursor: FeedCursor | undefined;
  const read: RecordedEvent[] = [];
  for (;;) {
    const page = await store.readAll(cursor, 10_000);
    if (page.events.length === 0) break;
    pages += 1;
    read.push(...page.events);
    cursor = page.next;
  }
  expect(read).toHaveLength(count);
  expect(read.every(({ data }, i) => data["text"] === texts[i])).toBe(true);
  // Not all in one answer, although the limit would allow it.
  expect(pages).toBeGreaterThanOrEqual(count / 2);

  let folded = 0;
  for await (const group of store.readStreamType("order", never)) {
    expect(group.length).toBeLessThanOrEqual(2);
    for (const { data } of group) expect(data["text"] === texts[folded++]).toBe(true);
  }
  expect(folded).toBe(count);
});

test("one event of very many megabytes takes every way in and out", async () => {
  await using opened = await openTestStore("large");
  const { store } = opened;
  const text = noise((NIGHTLY ? 100 : 10) * MB);
  await store.append("order-1", [{ ...event(), data: { text } }], "none");
  const writer = await store.openCapture("shop", "test://source");
  await writer.stage({
    events: batchOf([{ stream: "order-2", version: 1, data: { text } }]),
    images: [{ table: "t", key: "1", image: text }],
  });
  expect((await writer.images("t", ["1"]))[0] === text).toBe(true);
  await writer.commit(tailing(1));
  await writer.close();
  for (const stream of ["order-1", "order-2"]) {
    for await (const { data } of store.readStream(stream)) expect(data["text"] === text).toBe(true);
  }
  let found = 0;
  for await (const group of store.readStreamType("order", never)) {
    for (const { data } of group) found += data["text"] === text ? 1 : 0;
  }
  expect(found).toBe(2);
});

test("a stage of many large events is one stream to the server, not one statement", async () => {
  await using opened = await openTestStore("large");
  const { store } = opened;
  const writer = await store.openCapture("shop", "test://source");
  // Together beyond the gigabyte that one message may have.
  const text = noise((NIGHTLY ? 5 : 1) * MB);
  const events = Array.from({ length: NIGHTLY ? 250 : 10 }, (_, i) => ({
    stream: `order-${i}`,
    version: 1,
    data: { text, i },
  }));
  await writer.stage({ events: batchOf(events) });
  await writer.commit(tailing(1));
  await writer.close();
  const { rows } = await opened.database.query("SELECT count(*)::int AS n FROM banyan.events");
  expect(rows).toEqual([{ n: events.length }]);
});
