import pg from "pg";
import { expect, test } from "vitest";
import { amended, bankWorld } from "./bank-world.ts";
import { shopWorld } from "./reverse-support.ts";
import { postgresLegacyWriter } from "../../connectors/postgres/legacy-writer.ts";
import { openLegacyIds, openLegacyWriter } from "../../src/cli/wire.ts";
import { parseConfig } from "../../src/config/load-config.ts";
import { BanyanError } from "../../src/model/errors.ts";

const update = (id: number, balance: string) =>
  amended("Account", "account", "update", { id, balance });

test("of two at once the first is fenced, and what is written is right", async () => {
  await using world = await bankWorld("reverse_two");
  const first = world.start();
  await world.append("account-1", [update(1, "11.00")]);
  await first.reach();
  const second = world.start();
  for (let n = 0; n < 50; n++)
    await world.append(`account-${1 + (n % 4)}`, [update(1 + (n % 4), `${n}.00`)]);
  await expect(first.ended).rejects.toMatchObject({
    code: "PIPELINE_FENCED",
    recovery: "operator",
  });
  await second.reach();
  await second.stop();
  expect(await world.expectRowsAreFolds("account")).toBe(7);
  expect(await world.store.reverse.status("shop", 1)).toMatchObject({ conflicts: 0 });
});

test("one that cannot reach the legacy database leaves the other at its work", async () => {
  await using world = await bankWorld("reverse_unreachable");
  const first = world.start();
  await world.append("account-1", [update(1, "11.00")]);
  await first.reach();
  let tried = 0;
  const url = "postgres://nobody@127.0.0.1:1/nothing";
  const second = world.start({
    openLegacy: () => postgresLegacyWriter({ url, pipeline: "shop" }),
    onRetry: () => (tried += 1),
  });
  await expect.poll(() => tried, { timeout: 60_000 }).toBeGreaterThan(1);
  await world.append("account-1", [update(1, "12.00")]);
  await first.reach();
  await second.stop();
  await first.stop();
  expect(await world.expectRowsAreFolds("account")).toBe(7);
});

test("one that may not write there leaves the other at its work, and ends", async () => {
  await using world = await bankWorld("reverse_no_rights");
  const role = `reader_${world.db.name}`;
  await world.db.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'`);
  const url = new URL(world.db.url);
  url.username = role;
  url.password = "p";
  const openLegacy = () => postgresLegacyWriter({ url: url.href, pipeline: "shop" });
  try {
    const first = world.start();
    await world.append("account-1", [update(1, "11.00")]);
    await first.reach();
    const expectRefused = async (message: string): Promise<void> =>
      expect(world.start({ openLegacy }).ended).rejects.toMatchObject({
        code: "REVERSE_NOT_READY",
        message: expect.stringContaining(message) as string,
      });
    await expectRefused(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON banyan_reverse.applied TO ${role}`,
    );
    await world.db.query(`ALTER ROLE ${role} SUPERUSER`);
    await world.db.query(`ALTER ROLE ${role} SET default_transaction_read_only = on`);
    await expectRefused("takes no writes here");
    await world.append("account-1", [update(1, "12.00")]);
    await first.reach();
    await first.stop();
    expect(await world.expectRowsAreFolds("account")).toBe(7);
  } finally {
    await world.db.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test("each transaction says first whose rows it writes, and says nothing of streams in conflict", async () => {
  await using world = await bankWorld("reverse_echo");
  await world.db.query(
    "SELECT pg_create_logical_replication_slot('echo_' || current_database(), 'test_decoding')",
  );
  await world.db.query("UPDATE account SET email = 'foreign' WHERE id = 3");
  await world.append("account-1", [update(1, "11.00"), update(1, "12.00")]);
  await world.append("account-3", [update(3, "31.00")]);
  await world.append("account-2", [amended("Account", "entries", "delete", { id: "3" })]);
  await world.writeBack();
  const { rows } = await world.db.query(
    "SELECT data FROM pg_logical_slot_get_changes('echo_' || current_database(), NULL, NULL, 'skip-empty-xacts', '1')",
  );
  const log = (rows as { data: string }[]).map(({ data }) => data);
  const at = log.findIndex((line) => line.includes("banyan.echo"));
  const told = log
    .slice(at)
    .filter((line) => !/^(BEGIN|COMMIT)/.test(line))
    .map((line) =>
      line.replace(/^message: .*content:/, "").replace(/^table (\S+): (\w+):.*/, "$1 $2"),
    );
  expect(told).toEqual([
    '{"pipeline" : "shop", "stream" : "account-1", "version" : 3}',
    '{"pipeline" : "shop", "stream" : "account-2", "version" : 2}',
    "public.entry DELETE",
    "public.account UPDATE",
    "banyan_reverse.applied INSERT",
    "banyan_reverse.applied INSERT",
  ]);
});

test("the writer of a config connects where `reverse` says, and else to the source", async () => {
  await using world = await bankWorld("reverse_config");
  const exported = {
    name: "shop",
    source: { kind: "postgres", url: "postgres://nobody@127.0.0.1:1/nothing" },
    streams: world.streams,
  };
  const parse = (reverse: object, withReverse: boolean, environment: Record<string, string> = {}) =>
    parseConfig({ ...exported, ...reverse }, "/x/banyan.config.ts", environment, { withReverse });
  const reverse = { reverse: { url: { env: "LEGACY_WRITE_URL" } } };
  expect(parse(reverse, false).reverse).toBeUndefined();
  expect(() => parse(reverse, true)).toThrow(/LEGACY_WRITE_URL is not set/);
  expect(parse({}, true).reverse).toEqual({ url: exported.source.url });
  const config = parse(reverse, true, { LEGACY_WRITE_URL: world.db.url });
  const writer = (await openLegacyWriter(config))();
  await writer.open(["public.account"]);
  expect(await writer.applied(["account-1"])).toEqual(new Map());
  await writer.close();
  const ids = (await openLegacyIds(config))();
  expect(await ids.take("public.entry", "id", 3)).toEqual(["4", "5", "6"]);
  expect(await ids.take("public.account", "id", 3)).toBeUndefined();
  await ids.close();
});

test("without the rights it says the SQL, and that SQL is enough", async () => {
  await using world = await bankWorld("reverse_rights");
  const role = `writer_${world.db.name}`;
  const url = new URL(world.db.url);
  await world.db.query(
    `CREATE ROLE ${role} LOGIN PASSWORD 'p'; REVOKE CREATE ON DATABASE ${world.db.name} FROM PUBLIC`,
  );
  url.username = role;
  url.password = "p";
  try {
    const openLegacy = () => postgresLegacyWriter({ url: url.href, pipeline: "shop" });
    await world.append("account-1", [
      update(1, "11.00"),
      amended("Account", "entries", "insert", { id: "77", amount: "1.00", tags: null }),
    ]);
    const failure = await world.start({ openLegacy }).ended.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(BanyanError);
    const { code, message } = failure as BanyanError;
    expect(code).toBe("REVERSE_NOT_READY");
    const sql = message.slice(message.indexOf("\n") + 1);
    expect(sql).toContain(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON public.account`.replace(
        "public.account",
        '"public"."account"',
      ),
    );
    await world.db.query(sql);
    await world.writeBack({ openLegacy });
    // The child's event did not repeat whose it is.
    const { rows } = await world.db.query("SELECT account_id, amount FROM entry WHERE id = 77");
    expect(rows).toEqual([{ account_id: 1, amount: "1.00" }]);
  } finally {
    await world.db.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test("a sequence gives no id that a service made up, near or far", async () => {
  await using world = await shopWorld("reverse_sequences", 10);
  const client = new pg.Client({ connectionString: world.db.url });
  await client.connect();
  const place = async (id: string): Promise<void> => {
    const data = {
      id,
      customer_id: "1",
      status: "placed",
      total: "1.00",
      currency: "EUR",
      ship_to: null,
      note: null,
      cancel_reason: null,
      placed_at: "2026-01-31T10:00:00Z",
      paid_at: null,
      updated_at: "2026-01-31T10:00:00Z",
    };
    await world.append(`order-${id}`, [{ type: "OrderPlaced", data: { ...data, lines: [] } }]);
    await world.writeBack();
  };
  const next = async (): Promise<bigint> => {
    const { rows } = await client.query<{ id: string }>(
      "SELECT nextval('orders_id_seq')::text AS id",
    );
    return BigInt(rows[0]!.id);
  };
  const before = await next();
  await place(String(before + 100n));
  expect(await next()).toBe(before + 101n);
  await place("9007199254740993");
  expect(await next()).toBe(9007199254740994n);
  await place(String(before + 50n));
  expect(await next()).toBe(9007199254740995n);
  await client.end();
  await world.expectRowsAreFolds("order");
});
