import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { startShopServer } from "../../examples/shop-postgres/app.ts";
import shopConfig from "../../examples/shop-postgres/banyan.config.ts";
import { startNewShop } from "../../examples/shop-postgres/new-shop.ts";
import { seedShop, TABLES } from "../../examples/shop-postgres/seed.ts";
import { Folder } from "../../src/projection/fold.ts";
import { newestDefinition } from "../../src/reverse/apply-natives.ts";
import type { Stage } from "../../src/rollout/stage.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { verifyParity } from "../../src/verify/verify-parity.ts";
import { compareRows } from "../reverse/reverse-support.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

export const SALT = "s";
const PIPELINE = "shop";
const ROOT = join(import.meta.dirname, "../..");
const REACH_MS_MAX = 120_000;

export type MovedType = "order" | "customer";
export type LoopName = "capture" | "daemon";

/** The legacy shop, the new one, and all that keeps them in step, each loop in a process of its own. */
export interface TwoShops extends AsyncDisposable {
  readonly legacyUrl: string;
  readonly newUrl: string;
  readonly source: TestDatabase;
  readonly events: TestDatabase;
  readonly store: EventStore;
  /** What the loops have said on stderr so far. */
  readonly said: () => string;
  kill(loop: LoopName): Promise<void>;
  start(loop: LoopName): void;
  /** Fails when it takes too long, or a loop ends. */
  until(what: string, holds: () => Promise<boolean>): Promise<void>;
  /** Until the store has all that legacy has committed by now. */
  captured(): Promise<void>;
  /** Until all native events that are stored now are in the rows, or a conflict. */
  writtenBack(): Promise<void>;
  verify(): Promise<ParityReport>;
  /** Switches as a move does, with no write under way: the caller sees to that. */
  switchTo(stage: Stage, share: number, type?: MovedType): Promise<void>;
  /** Everything is where it belongs, in the folds and in the rows, and nothing waits. */
  expectInStep(): Promise<void>;
}

export async function openTwoShops(label: string, orders: number): Promise<TwoShops> {
  const source = await createDatabase(label);
  const events = await createDatabase(`${label}_events`);
  await seedShop({ url: source.url, orders, seed: 3 });
  await source.query("UPDATE stock_levels SET quantity = 100000");
  await source.query(`CREATE PUBLICATION banyan_shop FOR TABLE ${TABLES.join(", ")}`);
  const store = await openPostgresEventStore({ url: events.url });
  await store.migrate();
  await events.query(
    "INSERT INTO banyan.rollouts (pipeline, stream_type, stage, share, salt) SELECT $1, t, 'legacy', 0, $2 FROM unnest(ARRAY['order', 'customer']) t",
    [PIPELINE, SALT],
  );
  const legacy = await startShopServer({ databaseUrl: source.url });
  const fresh = await startNewShop({ storeUrl: events.url });
  const { streams } = shopConfig;
  const mark = openPostgresSource({
    url: source.url,
    slot: source.name,
    publication: "banyan_shop",
    pipeline: PIPELINE,
  });
  const children = new Map<LoopName, ChildProcess>();
  let said = "";

  const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
    const deadline = Date.now() + REACH_MS_MAX;
    while (!(await holds())) {
      for (const [name, { exitCode }] of children)
        if (exitCode !== null) throw new Error(`${name} ended while waiting until ${what}`);
      if (Date.now() > deadline) throw new Error(`it was not so in time that ${what}`);
      await sleep(20);
    }
  };
  const shops: TwoShops = {
    legacyUrl: legacy.url,
    newUrl: fresh.url,
    source,
    events,
    store,
    said: () => said,
    until,
    start(loop) {
      const child = startChild(loop, source, events);
      child.stderr!.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        process.stderr.write(text);
      });
      children.set(loop, child);
    },
    async kill(loop) {
      const child = children.get(loop);
      children.delete(loop);
      if (child !== undefined) await end(child);
    },
    async captured() {
      const fence = await mark.fence();
      await until("all is captured", async () => {
        const record = await store.pipeline(PIPELINE);
        return record?.checkpoint !== undefined && record.checkpoint >= fence;
      });
    },
    async writtenBack() {
      await until("all is written back", async () => {
        const status = await store.reverse.status(PIPELINE, 0);
        const page = await store.reverse.natives(status?.cursor, 1);
        return status !== undefined && page.natives.length === 0 && page.isEnd;
      });
    },
    verify: () =>
      verifyParity(
        {
          pipeline: PIPELINE,
          source: mark,
          store,
          streams,
          waitMsMax: REACH_MS_MAX,
          samplesMax: 10,
          showValues: true,
        },
        AbortSignal.timeout(REACH_MS_MAX),
      ),
    async switchTo(stage, share, type = "order") {
      await shops.captured();
      await events.query(
        `DO $$ BEGIN PERFORM banyan.lock_authority('${PIPELINE}', '${type}');
           UPDATE banyan.rollouts SET stage = '${stage}', share = ${share}, epoch = epoch + 1
            WHERE pipeline = '${PIPELINE}' AND stream_type = '${type}'; END $$`,
      );
      await shops.writtenBack();
    },
    async expectInStep() {
      await shops.writtenBack();
      await shops.captured();
      const status = await store.reverse.status(PIPELINE, 5);
      expect(status?.samples, "conflicts").toEqual([]);
      const { rows } = await events.query(
        "SELECT stream_id, code, reason FROM banyan.quarantine WHERE state = 'pending' LIMIT 5",
      );
      expect(rows, "quarantine").toEqual([]);
      expect(await shops.verify()).toMatchObject({ state: "equal", samples: [] });
      const mappings = await store.mappings();
      const folder = new Folder(mappings, new Map());
      const definition = newestDefinition(mappings, "order")!;
      await compareRows(source.url, store, folder, "order", definition);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...children.values()].map(end));
      rmSync(spillOf(source), { recursive: true, force: true });
      await fresh.close();
      await legacy.close();
      await mark.close();
      await store.close();
      await source[Symbol.asyncDispose]();
      await events[Symbol.asyncDispose]();
    },
  };
  shops.start("capture");
  shops.start("daemon");
  return shops;
}

/** It is killed, and cannot remove it itself. */
function spillOf({ name }: TestDatabase): string {
  return join(tmpdir(), `banyan-spill-${name}`);
}

function startChild(loop: LoopName, source: TestDatabase, events: TestDatabase): ChildProcess {
  return spawn(
    process.execPath,
    [
      join(ROOT, "node_modules/jiti/lib/jiti-cli.mjs"),
      join(ROOT, "test/strangler/loops-child.ts"),
      loop,
      source.url,
      events.url,
      source.name,
      spillOf(source),
    ],
    { stdio: ["ignore", "inherit", "pipe"] },
  );
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
