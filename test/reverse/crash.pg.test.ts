import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { amended, bankWorld } from "./bank-world.ts";
import { PIPELINE, type ReverseWorld } from "./reverse-support.ts";
import { FAILPOINTS, type Failpoint } from "../../src/runtime/failpoint.ts";
import { seededRandom } from "../support/seeded-random.ts";

/*
 * The invariant: wherever the way back is killed, the next run goes on, no event is written twice or left
 * out, and rows and folds are equal in the end. An addition that is made twice would show: each event says
 * the new balance, and a row that does not hold the old one would be a conflict.
 */

/** Each child is compiled anew, which takes long on a busy machine. */
const TEST_MS_MAX = 600_000;
const ROOT = join(import.meta.dirname, "../..");
const END_MS_MAX = 90_000;

function startChild(world: ReverseWorld, what: string, failpoint?: string): ChildProcess {
  const child = spawn(
    process.execPath,
    [
      join(ROOT, "node_modules/jiti/lib/jiti-cli.mjs"),
      join(ROOT, "test/reverse/reverse-child.ts"),
      what,
      world.db.url,
      world.storeDatabase.url,
    ],
    {
      env: { ...process.env, ...(failpoint === undefined ? {} : { BANYAN_FAILPOINT: failpoint }) },
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  return child;
}

async function endOf(child: ChildProcess): Promise<NodeJS.Signals | number | null> {
  if (child.exitCode !== null || child.signalCode !== null)
    return child.signalCode ?? child.exitCode;
  const late = setTimeout(() => child.kill("SIGKILL"), END_MS_MAX);
  await once(child, "exit");
  clearTimeout(late);
  return child.signalCode ?? child.exitCode;
}

class Accounts {
  readonly #world: ReverseWorld;
  readonly #random: () => number;
  readonly #balances = new Map([1, 2, 3, 4].map((id) => [id, id * 1000]));
  #entry = 1_000;
  appended = 0;

  constructor(world: ReverseWorld, random: () => number) {
    this.#world = world;
    this.#random = random;
  }

  async append(times: number): Promise<void> {
    for (let n = 0; n < times; n++) {
      const id = 1 + Math.floor(this.#random() * 4);
      const balance = this.#balances.get(id)! + 1 + Math.floor(this.#random() * 100);
      this.#balances.set(id, balance);
      await this.#world.append(`account-${id}`, [
        amended("Account", "account", "update", { id, balance: (balance / 100).toFixed(2) }),
        amended("Account", "entries", "insert", {
          id: String(this.#entry++),
          account_id: id,
          amount: "1.00",
          tags: "{}",
        }),
      ]);
      this.appended += 2;
    }
  }
}

const POINTS: readonly `${Failpoint}:${number}`[] = [
  "reverse-taken-over:1",
  "reverse-announced:1",
  "reverse-rows-written:1",
  "reverse-before-commit:1",
  "reverse-after-commit:1",
  "reverse-before-progress:1",
  "reverse-after-progress:1",
];

test(
  "killed anywhere it neither loses nor repeats an event",
  async () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
    process.stdout.write(`seed ${seed}\n`);
    await using world = await bankWorld("reverse_crash");
    const accounts = new Accounts(world, seededRandom(seed));
    for (const point of POINTS) {
      await accounts.append(5);
      const child = startChild(world, "reverse", point);
      expect(await endOf(child), point).toBe("SIGKILL");
      const { rows } = await world.db.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'",
      );
      expect((rows[0] as { n: number }).n, "sessions that a killed run left").toBeLessThanOrEqual(
        1,
      );
    }
    await accounts.append(5);
    await world.writeBack();
    const status = await world.store.reverse.status(PIPELINE, 5);
    expect(status).toMatchObject({ conflicts: 0, samples: [] });
    // Of a run that was killed behind its commit nobody counted the events.
    expect(status!.applied).toBeLessThan(accounts.appended);
    await world.expectRowsAreFolds("account");
  },
  TEST_MS_MAX,
);

test(
  "killed with ids in hand it gives none of them twice",
  async () => {
    await using world = await bankWorld("reverse_ids_crash");
    await world.storeDatabase.query(
      "INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt) VALUES ('shop', 'account', 'new', 's')",
    );
    expect(await endOf(startChild(world, "ids", "reverse-ids-taken:1"))).toBe("SIGKILL");
    const last = async (): Promise<bigint> => {
      const { rows } = await world.db.query("SELECT last_value::text AS last FROM entry_id_seq");
      return BigInt((rows[0] as { last: string }).last);
    };
    const lost = await last();
    expect(lost).toBeGreaterThan(100n);
    const child = startChild(world, "ids");
    const reserved = async (): Promise<string[]> => {
      const { rows } = await world.storeDatabase.query(
        "SELECT id::text FROM banyan.reserved_ids WHERE stream_type = 'account/entries' ORDER BY id",
      );
      return (rows as { id: string }[]).map(({ id }) => id);
    };
    for (let look = 0; (await reserved()).length < 200; look++) {
      if (look > 3_000) throw new Error("no ids came");
      await sleep(20);
    }
    child.kill("SIGTERM");
    expect(await endOf(child)).toBe(0);
    expect(BigInt((await reserved())[0]!)).toBeGreaterThan(lost);
  },
  TEST_MS_MAX,
);

test("every point of the list is among these", () => {
  const used = new Set([...POINTS, "reverse-ids-taken:1"].map((point) => point.split(":")[0]));
  expect(FAILPOINTS.filter((name) => name.startsWith("reverse-") && !used.has(name))).toEqual([]);
});
