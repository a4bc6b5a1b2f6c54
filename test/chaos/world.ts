import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createJiti } from "jiti";
import { seedShop, TABLES } from "../../examples/shop-postgres/seed.ts";
import { ask, witnessCommits } from "../support/crash-store.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { CapturedShop } from "./captured-shop.ts";
import { Captures } from "./captures.ts";
import { mountQuota, unmount, type Quota } from "./quota.ts";
import { endServerIn, startChaosServer, type ChaosServer } from "./server.ts";
import { inSession } from "./session.ts";
import type { Variant } from "./variant.ts";

/** A shop, an event store, a wire to each, and the capture between them. */
export interface World extends AsyncDisposable {
  readonly source: ChaosServer;
  readonly store: ChaosServer;
  /** Only the capture goes through these. */
  readonly toSource: TcpProxy;
  readonly toStore: TcpProxy;
  readonly captures: Captures;
  /** The store's disk, and the one that captures spill to; or why they cannot be made full here. */
  readonly disks: { readonly store: Quota; readonly spill: Quota } | string;
  readonly slot: string;
  readonly variant: Variant;
  /** The config's folder. */
  readonly directory: string;
  /** All tables of the shop. */
  readonly tables: readonly string[];
  /** Those in the config. */
  readonly captured: () => readonly string[];
  /** Brings the tables that were left out into the config. */
  readonly join: () => void;
  /** What the store says that the pipeline does; undefined when it says nothing. */
  readonly phase: () => Promise<string | undefined>;
  /** How often the pipeline has been taken over. */
  readonly epoch: () => Promise<string | undefined>;
  /** How many streams the pipeline was ever asked to read anew; not a number when the store does not say. */
  readonly askedAnew: () => Promise<number>;
  /** Whether the store has all rows that a table had, and follows them. */
  readonly isWhole: (table: string) => Promise<boolean>;
  /** `banyan` with these arguments, on wires that no fault touches. */
  readonly commandLine: (args: readonly string[]) => {
    readonly args: string[];
    readonly cwd: string;
    readonly env: Record<string, string>;
  };
  /** Sets the clock of the captures so far off. */
  readonly setClock: (ms: number) => void;
  /** Everything runs and answers again. */
  readonly heal: () => Promise<void>;
}

export interface WorldOptions {
  readonly seed: number;
  readonly variant: Variant;
  readonly orders: number;
  /** The built program's folder. */
  readonly dist: string;
  readonly onLine: (line: string) => void;
}

const PREFIX = "banyan-chaos-";
const SLOT = "banyan_shop";
/** Beside the config: where the program keeps what is its own. */
const SPILL = ".banyan";
/** After so long a store that says nothing counts as gone; the product's own default is two minutes. */
const STORE_ANSWER_MS_MAX = 8_000;

/**
 * audit.watch makes a table's trigger record the columns that it has now. And a row that a TRUNCATE takes
 * is recorded as any that is deleted.
 */
const WATCH = `
  CREATE FUNCTION audit.watch(name text) RETURNS void LANGUAGE plpgsql AS $$
  DECLARE texts text;
  BEGIN
    SELECT format('SELECT jsonb_build_object(%s)', string_agg(format('%L, ($1).%I::text', attname, attname), ', '))
      INTO texts FROM pg_attribute WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('DROP TRIGGER audit ON %I', name);
    EXECUTE format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit.record(%L)', name, texts);
  END $$;
  CREATE FUNCTION audit.record_truncate() RETURNS trigger LANGUAGE plpgsql
    SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
    SET extra_float_digits = 3 SET bytea_output = 'hex' AS $$
  DECLARE texts text;
  BEGIN
    SELECT string_agg(format('%L, t.%I::text', attname, attname), ', ')
      INTO texts FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('INSERT INTO audit.changes (relation, operation, old_row) SELECT %L, ''delete'', jsonb_build_object(%s) FROM %I t',
      TG_TABLE_NAME, texts, TG_TABLE_NAME);
    RETURN NULL;
  END $$;
  CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON shipments FOR EACH STATEMENT EXECUTE FUNCTION audit.record_truncate()`;

/** Those of which the store has all rows, with the place in the log where they had been read and how far it is followed. */
export const WHOLE_TABLES = `
  SELECT t.table_name AS table, t.since, p.checkpoint
    FROM banyan.pipelines p JOIN banyan.captured_tables t ON t.pipeline_id = p.id
   WHERE p.phase = 'tail' AND NOT EXISTS (
     SELECT FROM banyan.baselines b WHERE b.stream_type = t.stream_type AND b.progress->>'done' IS DISTINCT FROM 'true')`;

export async function openWorld(options: WorldOptions): Promise<World> {
  await removeLeftovers();
  const releases: (() => void | Promise<void>)[] = [];
  const release = async (): Promise<void> => {
    for (const step of releases.splice(0).reverse()) await step();
  };
  try {
    return await makeWorld(options, releases, release);
  } catch (error) {
    await release();
    throw error;
  }
}

async function makeWorld(
  { seed, variant, orders, dist, onLine }: WorldOptions,
  releases: (() => void | Promise<void>)[],
  release: () => Promise<void>,
): Promise<World> {
  const use = <T extends AsyncDisposable>(made: T): T => {
    releases.push(() => made[Symbol.asyncDispose]() as Promise<void>);
    return made;
  };
  const dir = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  // The servers run as another user when we are root.
  chmodSync(dir, 0o755);
  releases.push(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const program = copyProgram(dist, join(dir, "program"));
  const shop = new CapturedShop({ directory: dir, slot: SLOT, variant });
  const clock = join(dir, "clock");
  const setClock = (ms: number): void => {
    writeFileSync(`${clock}.new`, String(ms));
    renameSync(`${clock}.new`, clock);
  };
  setClock(0);

  const storeDir = join(dir, "store");
  const disks = mountDisks(storeDir, join(dir, SPILL));
  if (typeof disks === "object")
    releases.push(() => {
      disks.store[Symbol.dispose]();
      disks.spill[Symbol.dispose]();
    });
  const source = use(await startChaosServer(join(dir, "source")));
  const store = use(await startChaosServer(storeDir));
  await seedShop({ url: source.url, orders, seed, audit: true });
  await ask(source.url, WATCH);
  await ask(source.url, `CREATE PUBLICATION banyan_shop FOR TABLE ${shop.captured.join(", ")}`);
  await witnessCommits(store);

  const toSource = use(await startTcpProxy({ host: "127.0.0.1", port: source.port }));
  const toStore = use(await startTcpProxy({ host: "127.0.0.1", port: store.port }));
  const preload = join(dir, "capture-preload.cjs");
  writeFileSync(preload, compiled(join(import.meta.dirname, "capture-preload.ts")));
  const captures = use(
    new Captures({
      args: ["--require", preload, program, "run", "--json", "--baseline", variant.baseline],
      directory: dir,
      env: {
        SHOP_URL: toSource.url(source.url),
        EVENTS_URL: `${toStore.url(store.url)}&query_timeout=${STORE_ANSWER_MS_MAX}`,
        BANYAN_TEST_CLOCK: clock,
      },
      onLine,
    }),
  );
  const inStore = async (sql: string, values: unknown[] = []): Promise<string | undefined> =>
    await inSession(store.url, async (client) => {
      const { rows } = await client.query<{ said: string }>(sql, values);
      return rows[0]?.said;
    });
  const phase = (): Promise<string | undefined> =>
    inStore("SELECT phase AS said FROM banyan.pipelines");
  return {
    source,
    store,
    variant,
    directory: dir,
    tables: TABLES,
    captured: () => shop.captured,
    join: () => shop.join(),
    phase,
    epoch: () => inStore("SELECT epoch::text AS said FROM banyan.pipelines"),
    askedAnew: async () =>
      Number(await inStore("SELECT count(*)::text AS said FROM banyan.rebaselines")),
    isWhole: async (table) =>
      (await inStore(`SELECT 'yes' AS said FROM (${WHOLE_TABLES}) t WHERE t.table = $1`, [
        `public.${table}`,
      ])) === "yes",
    toSource,
    toStore,
    captures,
    disks,
    slot: SLOT,
    commandLine: (args) => ({
      args: [program, ...args],
      cwd: dir,
      env: { SHOP_URL: source.url, EVENTS_URL: store.url },
    }),
    setClock,
    async heal() {
      if (typeof disks === "object") {
        disks.store.free();
        disks.spill.free();
      }
      setClock(0);
      await source.start();
      await store.start();
      toSource.resume();
      toStore.resume();
    },
    [Symbol.asyncDispose]: release,
  };
}

function mountDisks(store: string, spill: string): World["disks"] {
  mkdirSync(store);
  mkdirSync(spill);
  const first = mountQuota(store);
  if (typeof first === "string") return first;
  const second = mountQuota(spill);
  if (typeof second === "object") return { store: first, spill: second };
  first[Symbol.dispose]();
  return second;
}

/** A TypeScript file as Node takes it before a program. */
function compiled(path: string): string {
  return createJiti(import.meta.url).transform({
    source: readFileSync(path, "utf8"),
    filename: path,
    ts: true,
  });
}

/** So that a build in the middle of a round changes nothing. @returns the program's path */
function copyProgram(dist: string, to: string): string {
  const root = join(dist, "..");
  for (const part of ["package.json", "migrations"])
    cpSync(join(root, part), join(to, part), { recursive: true });
  cpSync(dist, join(to, "dist"), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(to, "node_modules"));
  return join(to, "dist/src/cli/main.js");
}

/** What a killed run left behind: its process number stands in the name of its folder. */
async function removeLeftovers(): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(PREFIX))) {
    const pid = Number(name.slice(PREFIX.length).split("-")[0]);
    if (!Number.isInteger(pid) || pid <= 1 || pid === process.pid || isAlive(pid)) continue;
    const dir = join(tmpdir(), name);
    for (const server of ["source", "store"]) await endServerIn(join(dir, server));
    for (const disk of ["store", SPILL]) unmount(join(dir, disk));
    rmSync(dir, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
