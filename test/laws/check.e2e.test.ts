import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seedShop, shopFolder, TABLES } from "../../examples/shop-postgres/seed.ts";
import { configFolder, runCli, type CliResult } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

/* `banyan check` as a user types it, on the example shop: what it says, and how it ends. */

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase("check");
  await seedShop({ url: database.url, orders: 200, seed: 3 });
  await database.query(`CREATE PUBLICATION banyan_shop FOR TABLE ${TABLES.join(", ")}`);
}, 120_000);

afterAll(() => database[Symbol.asyncDispose]());

const shop = join(shopFolder(), "banyan.config.ts");

/** The example's config with something else in its order stream. */
const changed = (inside: string): string => `
import { becomes, changed, changes, inserted, updated } from "banyan";
import shop from ${JSON.stringify(shop)};
import { orders } from "./tables.ts";
const { order } = shop.streams;
export default { ...shop, streams: { ...shop.streams, order: { ...order, ${inside} } } } as never;
`;

async function check(
  config: string | undefined,
  args: readonly string[] = [],
  url = database.url,
): Promise<CliResult> {
  using folder = configFolder(config ?? `export { default } from ${JSON.stringify(shop)};`);
  copyFileSync(join(shopFolder(), "tables.ts"), join(folder.directory, "tables.ts"));
  return await runCli(["check", ...args], { cwd: folder.directory, env: { SHOP_URL: url } });
}

const NOWHERE = "postgres://nobody@127.0.0.1:1/nothing";
const ROUNDS = `events: { ...order.events, OrderTotalChanged: updated(orders, changed("total"), {
  transform: { columns: ["total"], to: (now) => ({ euros: Math.round(Number(now.total)) }), from: (data) => ({ total: Number(data["euros"]).toFixed(2) }) },
}) }`;

describe("a sound config", () => {
  test("ends with 0 after a few seconds, and says how far it was tried", async () => {
    const begun = performance.now();
    const { stdout, stderr, exitCode } = await check(undefined, ["--seed", "7"]);
    expect(exitCode, stdout + stderr).toBe(0);
    // A few seconds on an idle machine; tests of others may run beside it.
    expect(performance.now() - begun).toBeLessThan(30_000);
    expect(stdout).toMatch(
      /✓ the laws hold for 3 streams: 600 generated histories and \d{2,} real rows \(seed 7\)\n✓ ready: 7 tables can be captured\n$/,
    );
    expect(stderr).toBe("next: banyan run\n");
  });

  test("is explained: which rule claims which column, and what is left", async () => {
    const { stdout } = await check(undefined, ["--explain", "--runs", "0", "--sample", "0"]);
    expect(stdout).toContain(`
order: update of public.payments
        event              when                claims
   1    PaymentRefunded    refunded changes    refunded
        OrderAmended       what is left        always: method, amount, response, captured_at
                                               otherwise: refunded
  a change of id, order_id is told as a delete and an insert

order: delete of public.payments
       event           when      claims
       OrderAmended    always    the whole row
`);
    expect(stdout).toContain(
      "✓ the laws hold for 3 streams: 0 generated histories and 0 real rows",
    );
  });

  test("is explained in JSON too", async () => {
    const { stdout } = await check(undefined, ["--explain", "--runs", "1", "--json"]);
    const { explain, laws } = JSON.parse(stdout) as {
      explain: readonly Record<string, unknown>[];
      laws: { streams: readonly { stream: string; histories: number }[] };
    };
    expect(explain.length).toBe(7 * 3);
    expect(explain).toContainEqual({
      stream: "product",
      role: "stock",
      table: "public.stock_levels",
      operation: "update",
      rules: [{ rule: "StockMoved", when: "quantity changes", claims: ["quantity"], takes: [] }],
      fallback: {
        event: "ProductAmended",
        always: ["reorder_level", "counted_on"],
        sometimes: ["quantity"],
      },
      moves: ["warehouse", "sku"],
    });
    expect(laws.streams.map(({ stream, histories }) => [stream, histories])).toEqual([
      ["customer", 1],
      ["product", 1],
      ["order", 1],
    ]);
  });
});

describe("a law that does not hold", () => {
  test("ends with 1, and is told the same with the same seed", async () => {
    const args = ["--seed", "11", "--sample", "0"];
    const first = await check(changed(ROUNDS), args);
    expect(first.exitCode, first.stderr).toBe(1);
    expect(first.stdout).toContain(`
✗ the inverse of rule OrderTotalChanged gives column "total" another value than it has (on a generated history)
    at    banyan.config.ts:6, stream order, rule OrderTotalChanged, public.orders.total  [inverse-does-not-hold]
    story first INSERT into public.orders: id 0, customer_id 0, status placed, total 0.00, currency`);
    expect(first.stdout).toContain(`
          then UPDATE public.orders where id 0: total 0.00 → 0.01
            "to" of OrderTotalChanged makes {"euros":0}
            "from" of OrderTotalChanged makes of that {"total":"0.00"}
            the row has total 0.01, the fold would give 0.00
            so this change would wait in quarantine, and its stream with it
    next  Correct "from" of rule OrderTotalChanged, or let "to" keep what is needed for it
✗ the laws do not hold for order: 600 generated histories and 0 real rows (seed 11)
1 problem to mend before banyan run
`);
    expect(first.stderr).toBe("");
    expect((await check(changed(ROUNDS), args)).stdout).toBe(first.stdout);
  });

  test("is found on real rows alone", async () => {
    const { exitCode, stdout } = await check(changed(ROUNDS), ["--runs", "0", "--json"]);
    const { ready, findings } = JSON.parse(stdout) as {
      ready: boolean;
      findings: readonly { law?: string; message: string }[];
    };
    expect({ exitCode, ready }).toEqual({ exitCode: 1, ready: false });
    expect(findings.filter(({ law }) => law !== undefined)).toMatchObject([
      {
        law: "round-trip",
        message: expect.stringContaining("on a real row of public.orders") as unknown,
      },
    ]);
  });
});

describe("a config that is wrong", () => {
  const WRONG = `validTime: "changed_at", events: { ...order.events, OrderPaid: updated(orders, { statsu: becomes("paid") } as never) }`;

  test("ends with 2, and every problem is told at once, beside those of the database", async () => {
    await using other = await createDatabase("check_unpublished");
    await seedShop({ url: other.url, orders: 1, seed: 3 });
    const { exitCode, stdout } = await check(changed(WRONG), ["--json"], other.url);
    expect(exitCode).toBe(2);
    const { findings, laws } = JSON.parse(stdout) as {
      findings: readonly Record<string, string>[];
      laws: { streams: readonly { stream: string }[] };
    };
    const errors = findings.filter(({ severity }) => severity === "error");
    expect(errors.map(({ code, rule, column }) => [code, rule, column])).toEqual([
      ["publication-missing", undefined, undefined],
      ["column-missing", "OrderPaid", "statsu"],
      ["column-missing", undefined, "changed_at"],
    ]);
    expect(errors[1]).toMatchObject({ next: 'Write "status", if that is meant', stream: "order" });
    // The streams that are right are tried all the same.
    expect(laws.streams.map(({ stream }) => stream)).toEqual(["customer", "product"]);
  });

  test("ends with 2 also where the database cannot be reached to say more", async () => {
    const wrong = changed(`otherwise: "OrderPaid"`);
    const { exitCode, stdout, stderr } = await check(wrong, [], NOWHERE);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("rule OrderPaid has the name of the fallback or baseline event");
  });

  test("ends with 2 for an option that is none", async () => {
    const { exitCode, stderr } = await check(undefined, ["--runs", "many"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("--runs is a whole number from 0 to 1000000");
  });
});

test("a server that cannot be reached ends with 4", async () => {
  const { exitCode, stdout, stderr } = await check(undefined, [], NOWHERE);
  expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
  expect(stderr).toContain("[SOURCE_UNREACHABLE]");
});
