import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { BANYAN_TABLE } from "./run-support.ts";
import { sourceDatabase, startOf } from "./source-support.ts";

const PLAN = { tables: [{ name: "public.item" }] };
const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const MB = 1024 * 1024;

test("a transaction far beyond memory comes in bounded parts to a consumer that takes its time", async () => {
  await using db = await sourceDatabase("large", BANYAN_TABLE, "item");
  const source = db.open({ partBytesMax: MB, bufferBytesMax: 4 * MB });
  const position = await startOf(source, PLAN);
  const rows = NIGHTLY ? 1_000_000 : 30_000;
  await db.query(
    "INSERT INTO item SELECT i, lpad(i::text, 1000, '.') FROM generate_series(1, $1::int) i",
    [rows],
  );
  const before = process.memoryUsage().rss;
  let peak = 0;
  let count = 0;
  let groups = 0;
  let ordinal = 0;
  for await (const group of source.stream(position, AbortSignal.timeout(600_000))) {
    groups += 1;
    let groupBytes = 0;
    for (const { changes, bytes, transaction, last } of group) {
      expect(bytes).toBeLessThan(1.1 * MB);
      groupBytes += bytes;
      for (const change of changes) ordinal = change.ordinal === ordinal + 1 ? change.ordinal : -1;
      count += changes.length;
      expect(last).toBe(count === rows);
      // Until it is over, nothing of it may be acknowledged.
      if (!last && !group.at(-1)!.last)
        expect(transaction.end.startsWith(transaction.commit)).toBe(true);
    }
    expect(groupBytes).toBeLessThan(6 * MB);
    if (groups % 4 === 0) await sleep(20);
    peak = Math.max(peak, process.memoryUsage().rss - before);
    if (group.at(-1)!.last) break;
  }
  expect(ordinal).toBe(rows);
  expect(groups).toBeGreaterThan(4);
  // A gigabyte passed through in the long run.
  if (NIGHTLY) expect(peak).toBeLessThan(400 * MB);
});

test("a row of many megabytes passes, whole and unchanged where it was not touched", async () => {
  await using db = await sourceDatabase(
    "large",
    `${BANYAN_TABLE}; ALTER TABLE item REPLICA IDENTITY FULL; ALTER TABLE item ADD n int`,
    "item",
  );
  const source = db.open();
  const position = await startOf(source, PLAN);
  const size = (NIGHTLY ? 200 : 8) * MB;
  await db.query("INSERT INTO item VALUES (1, repeat('ä', $1::int / 2), 1)", [size]);
  await db.query("UPDATE item SET n = 2");
  const names: unknown[] = [];
  for await (const group of source.stream(position, AbortSignal.timeout(120_000))) {
    for (const { changes } of group) {
      for (const change of changes) if (change.kind !== "truncate") names.push(change.after![1]);
    }
    if (names.length === 2) break;
  }
  for (const name of names) expect(name === "ä".repeat(size / 2)).toBe(true);
  const tables = await source.discover(PLAN.tables);
  const parity = await source.openParity(tables, new AbortController().signal);
  for await (const [row] of parity.readRows(tables[0]!, [], new AbortController().signal)) {
    expect(row![1] === names[0]).toBe(true);
  }
  await parity.close();
});
