import { describe, expect, test, vi } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { PostgresShadowLog } from "../../../connectors/postgres/shadow-log.ts";
import type { ShadowSample, ShadowWrite } from "../../../src/rollout/shadow-log.ts";
import { shadowLogContract } from "../../contract/shadow-log.contract.ts";

async function open() {
  const opened = await openTestStore("shadow_log");
  const { database } = opened;
  const log = new PostgresShadowLog(database.url, "shop");
  const other = new PostgresShadowLog(database.url, "other");
  return {
    log,
    other,
    query: (sql: string, values: readonly unknown[] = []) => database.query(sql, [...values]),
    async writes() {
      const { rows } = await database.query(
        `SELECT correlation_id, stream_type, stream_id, route, legacy_status, new_status, asked_at, answered_at
           FROM banyan.shadow_writes WHERE pipeline = 'shop' AND verdict = 'waiting'`,
      );
      return (rows as Readonly<Record<string, unknown>>[]).map(
        (row) =>
          ({
            correlationId: row["correlation_id"],
            streamType: row["stream_type"],
            streamId: row["stream_id"] ?? undefined,
            route: row["route"],
            legacyStatus: row["legacy_status"] ?? undefined,
            newStatus: row["new_status"] ?? undefined,
            askedAt: dateOf(row["asked_at"]),
            answeredAt: dateOf(row["answered_at"]),
          }) as ShadowWrite,
      );
    },
    async samples() {
      const { rows } = await database.query(
        `SELECT stream_type, route, target, differences, seen_at FROM banyan.shadow_samples
          WHERE pipeline = 'shop' ORDER BY id`,
      );
      return (rows as Readonly<Record<string, unknown>>[]).map(
        (row) =>
          ({
            streamType: row["stream_type"],
            route: row["route"],
            target: row["target"],
            differences: row["differences"],
            seenAt: dateOf(row["seen_at"]),
          }) as ShadowSample,
      );
    },
    async [Symbol.asyncDispose]() {
      await log.close();
      await other.close();
      await opened[Symbol.asyncDispose]();
    },
  };
}

function dateOf(value: unknown): Date {
  return value instanceof Date ? value : new Date(String(value));
}

shadowLogContract("Postgres", open);

describe("shadow traffic in the store", () => {
  const write: ShadowWrite = {
    correlationId: "c",
    streamType: "order",
    streamId: "order-1",
    route: "PUT /orders/:id",
    legacyStatus: 200,
    newStatus: 200,
    askedAt: new Date(),
    answeredAt: new Date(),
  };

  test("is of one migration, and a verdict that is there stays", async () => {
    await using at = await open();
    await at.log.add([write], []);
    await at.query("UPDATE banyan.shadow_writes SET verdict = 'pass'");
    await Promise.all([at.other.add([write], []), at.log.add([write], [])]);
    const { rows } = await at.query(
      "SELECT pipeline, verdict FROM banyan.shadow_writes ORDER BY pipeline",
    );
    expect(rows).toEqual([
      { pipeline: "other", verdict: "waiting" },
      { pipeline: "shop", verdict: "pass" },
    ]);
  });

  test("has its times by the store's clock when the proxy's is off, and else as they are", async () => {
    await using at = await open();
    const realMs = Date.now();
    vi.useFakeTimers({ toFake: ["Date"], now: realMs + 3_600_000 });
    try {
      const askedAt = new Date(Date.now() - 5_000);
      await at.log.add([{ ...write, askedAt, answeredAt: new Date() }], []);
    } finally {
      vi.useRealTimers();
    }
    const [one] = await at.writes();
    expect(Math.abs(one!.answeredAt.getTime() - realMs)).toBeLessThan(60_000);
    expect(one!.answeredAt.getTime() - one!.askedAt.getTime()).toBe(5_000);
    const exact = new Date();
    // A write that is a second on its way cannot be told from a clock that is off.
    let tookMs = Infinity;
    let correlationId = "";
    for (let n = 0; tookMs > 900; n++) {
      correlationId = `d${n}`;
      const startedMs = performance.now();
      await at.log.add([{ ...write, correlationId, answeredAt: exact }], []);
      tookMs = performance.now() - startedMs;
    }
    const second = (await at.writes()).find((one) => one.correlationId === correlationId);
    expect(second!.answeredAt).toEqual(exact);
  });

  test("takes a few statements for thousands of writes, and says when the store is locked away", async () => {
    await using at = await open();
    const many = Array.from({ length: 5_000 }, (_, n) => ({ ...write, correlationId: `c${n}` }));
    await at.log.add(many, []);
    expect(await at.writes()).toHaveLength(5_000);
    await at.query("BEGIN; LOCK TABLE banyan.shadow_writes IN ACCESS EXCLUSIVE MODE");
    await expect(at.log.add([write], [])).rejects.toMatchObject({ recovery: "retry" });
    await at.query("ROLLBACK");
    await at.log.add([write], []);
    expect(await at.writes()).toHaveLength(5_001);
  });
});
