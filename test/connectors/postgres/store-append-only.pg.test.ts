import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { event } from "../../contract/event-batches.ts";

/** As the superuser who owns everything. `$id` is the event that is there. */
const REFUSED: readonly (readonly [string, string])[] = [
  ["update", "UPDATE banyan.events SET data = '{}'"],
  [
    "update of one column of one row",
    "UPDATE banyan.events SET actor = 'x' WHERE event_id = '$id'",
  ],
  ["update that changes nothing", "UPDATE banyan.events SET type = type"],
  ["delete", "DELETE FROM banyan.events WHERE event_id = '$id'"],
  ["truncate", "TRUNCATE banyan.events"],
  [
    "truncate with all that depends",
    "TRUNCATE banyan.events, banyan.sources RESTART IDENTITY CASCADE",
  ],
  [
    "update as a replica",
    "SET LOCAL session_replication_role = replica; UPDATE banyan.events SET type = 'x'",
  ],
  [
    "delete as a replica",
    "SET LOCAL session_replication_role = replica; DELETE FROM banyan.events",
  ],
  ["truncate as a replica", "SET LOCAL session_replication_role = replica; TRUNCATE banyan.events"],
  [
    "upsert",
    "INSERT INTO banyan.events SELECT * FROM banyan.events ON CONFLICT (event_id) DO UPDATE SET type = 'x'",
  ],
  [
    "merge that updates",
    "MERGE INTO banyan.events e USING (SELECT '$id'::uuid AS id) s ON e.event_id = s.id WHEN MATCHED THEN UPDATE SET type = 'x'",
  ],
  [
    "merge that deletes",
    "MERGE INTO banyan.events e USING (SELECT '$id'::uuid AS id) s ON e.event_id = s.id WHEN MATCHED THEN DELETE",
  ],
  [
    "update within a query",
    "WITH u AS (UPDATE banyan.events SET type = 'x' RETURNING 1) SELECT count(*) FROM u",
  ],
  ["update through the view", "UPDATE banyan.cloudevents SET type = 'x'"],
  ["the same event again", "INSERT INTO banyan.events SELECT * FROM banyan.events"],
  [
    "the same id elsewhere",
    "INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, data) VALUES ('$id', 1, now(), 'native', 'other', 'x', '{}')",
  ],
  [
    "the same place again",
    "INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, data) VALUES (gen_random_uuid(), 1, now(), 'native', 'order-1', 'x', '{}')",
  ],
  [
    "a version of none",
    "INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, data) VALUES (gen_random_uuid(), 0, now(), 'native', 'order-1', 'x', '{}')",
  ],
];

test("an event cannot be changed, removed or doubled by any statement, whoever makes it", async () => {
  await using opened = await openTestStore("append_only");
  const [first, second] = [event("First"), event("Second")];
  await opened.store.append("order-1", [first, second], "none");
  const client = new pg.Client(opened.database.url);
  await client.connect();
  const all = async (): Promise<unknown[]> =>
    (await client.query<Record<string, unknown>>("SELECT * FROM banyan.events ORDER BY version"))
      .rows;
  const before = await all();
  expect(before).toHaveLength(2);
  for (const [what, sql] of REFUSED) {
    await client.query("BEGIN");
    const done: unknown = await client.query(sql.replaceAll("$id", first.id)).then(
      () => `was done: ${what}`,
      (error: unknown) => error,
    );
    expect(done).toMatchObject({
      // restrict_violation of our triggers, a unique or check constraint, a view that is not updatable.
      code: expect.stringMatching(/^(23001|23505|23514|55000|0A000)$/) as unknown,
    });
    await client.query("ROLLBACK");
    expect(await all(), what).toEqual(before);
  }
  // COPY over what is there.
  const copied = await client
    .query(
      `COPY banyan.events (event_id, version, time, origin, stream_id, type, data)
         FROM PROGRAM 'printf "%s\\t9\\tnow\\tnative\\torder-9\\tx\\t{}\\n" ${first.id}'`,
    )
    .catch((error: unknown) => error);
  expect(copied).toMatchObject({ code: "23505" });
  await client.end();
});

test("the triggers that refuse it fire in sessions that replay replicated rows, too", async () => {
  await using opened = await openTestStore("append_only");
  const { rows } = await opened.database.query(
    "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'banyan.events'::regclass AND NOT tgisinternal ORDER BY 1",
  );
  expect(rows).toEqual([
    { tgname: "events_append_only_rows", tgenabled: "A" },
    { tgname: "events_append_only_table", tgenabled: "A" },
  ]);
});
