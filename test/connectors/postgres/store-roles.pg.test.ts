import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { openServiceStore } from "./service-store-fixture.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { PostgresRolloutState } from "../../../connectors/postgres/rollout-state.ts";
import { PostgresTrafficLog } from "../../../connectors/postgres/traffic-log.ts";
import type { EventStore } from "../../../src/store/event-store.ts";
import { batchOf, event, position, streamOf, tailing } from "../../contract/event-batches.ts";
import { trafficRow } from "../../contract/traffic-log.contract.ts";
import type { TestDatabase } from "../../support/databases.ts";

const SOURCE = "test://source";
const never = new AbortController().signal;

test("the grants that the migrations name are all that the program needs", async () => {
  await using opened = await openTestStore("roles");
  await using app = await openAs(opened.database);
  const { store } = app;
  await store.migrate();
  await store.append("order-1", [event("Native")], "none");
  const writer = await store.openCapture("shop", SOURCE);
  await writer.mappingVersion("f1", { streams: {} });
  const image = { table: "t", key: "1", image: "{}" };
  const parked = {
    stream: "order-9",
    position: position(1),
    sourceTransaction: "1",
    table: "t",
    operation: "update",
    code: "VALUE_UNMAPPABLE",
    reason: "no",
    change: {},
  };
  await writer.stage({
    events: batchOf([{ stream: "order-2", version: 1 }]),
    images: [image],
    parked: [parked],
  });
  // Enough for COPY.
  const many = Array.from({ length: 700 }, (_, i) => ({ stream: `many-${i}`, version: 1 }));
  await writer.stage({
    events: batchOf(many),
    images: [image, { ...image, image: undefined }],
  });
  expect(await writer.images("t", ["1"])).toEqual([undefined]);
  await writer.commit(tailing(1));
  expect(await writer.versions(["order-1", "order-2"])).toEqual([1, 1]);
  expect(await store.quarantine.decide("shop", undefined, "retry")).toBe(1);
  const [entry] = await store.quarantine.list({ pipeline: "shop" });
  await writer.stage({ events: batchOf([]), released: [entry!.id] });
  await writer.commit(tailing(2));
  expect(await store.quarantine.count("shop")).toBe(0);
  // A successor ends the transaction that this one leaves open.
  await writer.stage({ events: batchOf([{ stream: "order-3", version: 1, type: "Old" }]) });
  const next = await store.openCapture("shop", SOURCE);
  await next.stage({ events: batchOf([{ stream: "order-3", version: 1, type: "New" }]) });
  await next.commit(tailing(3));
  await Promise.all([writer.close(), next.close()]);
  expect((await streamOf(store, "order-3")).map(({ type }) => type)).toEqual(["New"]);
  expect((await store.readAll(undefined, 1_000)).events).toHaveLength(703);
  for await (const group of store.readStreamType("order", never)) expect(group).toHaveLength(3);
  expect((await store.mappings()).size).toBe(1);
  expect(await store.pipeline("shop")).toMatchObject({ checkpoint: position(3) });
});

test("those grants are all that a proxy needs", async () => {
  await using opened = await openTestStore("roles");
  await using app = await openAs(opened.database);
  const state = new PostgresRolloutState(app.url, "shop");
  const traffic = new PostgresTrafficLog(app.url, "shop");
  const proxy = { instance: "00000000-0000-4000-8000-000000000001", place: "here" };
  await opened.database.query(
    `INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt, epoch, held_from, held_to, held_until)
     VALUES ('shop', 'order', 'shadow', 's', 1, 0, 10, now() - interval '1 s')`,
  );
  await state.acknowledge(proxy, new Map([["order", 1]]));
  await state.acknowledge(proxy, new Map([["order", 2]]));
  expect(await state.endHold("order", 1, "somebody")).toBe(true);
  expect((await state.read()).get("order")).toMatchObject({ stage: "shadow", epoch: 2 });
  expect(await state.existing(["order-1"])).toEqual(new Set());
  await traffic.write(proxy.instance, [trafficRow({})]);
  await state.leave(proxy);
  await Promise.all([state.close(), traffic.close()]);
});

test("they are all that a service needs, too", async () => {
  await using opened = await openServiceStore("roles_services");
  await opened.moveTo("new");
  await opened.reserve("order", [{ id: "7", bucket: 0 }]);
  await using app = await openAs(opened.database);
  const { services } = app.store;
  const order = { pipeline: "shop", streamType: "order" };
  expect(await services.takeId({ ...order, form: "integer" })).toBe("7");
  expect(await services.takeId({ ...order, form: "uuid" })).toMatch(/^[0-9a-f-]{36}$/);
  const events = [event()];
  const append = { pipeline: "shop", stream: "order-7", expected: 0, mappingVersion: 1, events };
  expect(await services.append(append)).toMatchObject({ outcome: "stored" });
  const claims = [{ column: "n", value: "1" }];
  const claiming = { ...append, expected: 1, events: [event()], claims };
  expect(await services.append(claiming)).toMatchObject({ outcome: "stored" });
  const again = { ...claiming, expected: 2, events: [event()] };
  expect(await services.append(again)).toMatchObject({ outcome: "stored" });
  const other = { ...claiming, stream: "order-8", expected: 0, events: [event()] };
  const by = { stream: "order-7", column: "n", version: 3 };
  expect(await services.append(other)).toEqual({ outcome: "taken", by });
  await services.release("shop", by);
  expect(await services.append(other)).toMatchObject({ outcome: "stored" });
  expect(await services.streamOfEvent(events[0]!.id)).toBe("order-7");
  expect(await services.streamsNaming("order", "n", "1", 1)).toEqual([]);
  expect(await app.store.reverse.outcomeOf("shop", "order-7", 1)).toEqual({ outcome: "waiting" });
  const proposal = {
    pipeline: "shop",
    correlationId: "c",
    stream: "order-7",
    decidedOn: 1,
    events: [],
  };
  await services.propose(proposal);
  expect(await opened.proposals()).toEqual([proposal]);
});

test("with those grants no event is changed, removed, or put where readers have passed", async () => {
  await using opened = await openTestStore("roles");
  await opened.store.append("order-1", [event("First")], "none");
  await using app = await openAs(opened.database);
  const columns = "event_id, version, time, origin, stream_id, type, data";
  const values = "gen_random_uuid(), 9, now(), 'native', 'order-9', 'Forged', '{}'";
  const refused = [
    "UPDATE banyan.events SET type = 'Other'",
    "DELETE FROM banyan.events",
    "TRUNCATE banyan.events",
    "ALTER TABLE banyan.events DISABLE TRIGGER ALL",
    "DROP TABLE banyan.events",
    "DELETE FROM banyan.pipelines",
    "DELETE FROM banyan.mappings",
    "UPDATE banyan.migrations SET checksum = ''",
    // In the place or at the time of an earlier event.
    `INSERT INTO banyan.events (transaction_id, ${columns}) VALUES ('3', ${values})`,
    `INSERT INTO banyan.events (position, ${columns}) VALUES (1, ${values})`,
    `INSERT INTO banyan.events (recorded_time, ${columns}) VALUES ('2000-01-01', ${values})`,
  ];
  for (const sql of refused) {
    await expect(app.query(sql), sql).rejects.toMatchObject({ code: "42501" });
  }
  expect((await streamOf(app.store, "order-1")).map(({ type }) => type)).toEqual(["First"]);
});

/** The store through a role of its own that has the named grants and nothing else. */
async function openAs(database: TestDatabase): Promise<
  {
    readonly store: EventStore;
    readonly url: string;
    query(sql: string): Promise<unknown>;
  } & AsyncDisposable
> {
  const role = `app_${randomBytes(4).toString("hex")}`;
  const password = randomBytes(8).toString("hex");
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`);
  for (const grant of grants()) await database.query(grant.replaceAll("banyan_app", role));
  const url = new URL(database.url);
  url.username = role;
  url.password = password;
  const store = await openPostgresEventStore({ url: url.href });
  return {
    store,
    url: url.href,
    query: (sql) =>
      database.query(`BEGIN; SET LOCAL ROLE ${role}; ${sql}; COMMIT`).finally(() => undefined),
    async [Symbol.asyncDispose]() {
      await store.close();
      await database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    },
  };
}

/** As the comment of the newest migration that names them has them. */
function grants(): readonly string[] {
  const folder = new URL("../../../migrations/", import.meta.url);
  const named = readdirSync(folder)
    .sort()
    .map((name) => readFileSync(new URL(name, folder), "utf8"))
    .map((sql) => [...sql.matchAll(/^--\s+(GRANT[^;]*;)/gm)].map(([, grant]) => grant!))
    .filter((found) => found.length > 0);
  return named.at(-1)!.map((grant) => grant.replaceAll(/\n--\s*/g, " "));
}
