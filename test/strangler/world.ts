import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { seedShop, shopFolder, TABLES } from "../../examples/shop-postgres/seed.ts";
import {
  CLI,
  configFolder,
  runCli,
  startCli,
  type CliResult,
  type RunningCli,
} from "../support/cli.ts";
import type { TestDatabase } from "../support/databases.ts";
import { startTestServer, type TestServer } from "../support/faults-server.ts";
import { freePort } from "../support/free-port.ts";
import { KeptProcess } from "./kept-process.ts";
import { WITNESS_SQL } from "./witness.ts";

/** Legacy shop, new shop, capture, proxies and `rollout run`, each a process, over two database servers. */
export interface World extends AsyncDisposable {
  readonly legacy: Part;
  readonly store: Part;
  readonly processes: Readonly<Record<ProcessName, KeptProcess>>;
  /** One address per proxy, the same over restarts. */
  readonly proxyUrls: readonly string[];
  /** The applications themselves. */
  readonly legacyUrl: string;
  readonly newUrl: string;
  banyan(...args: readonly string[]): Promise<CliResult>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningCli;
  /** Lines of the access logs of all proxies. */
  accessLines(): readonly unknown[];
}

interface Part {
  readonly server: TestServer;
  readonly database: TestDatabase;
}

export const PROCESS_NAMES = ["legacy", "new", "capture", "proxy", "proxy2", "rollout"] as const;
export type ProcessName = (typeof PROCESS_NAMES)[number];

export interface WorldOptions {
  readonly seed: number;
  readonly proxies: 1 | 2;
  readonly orders?: number;
  /** What a service that is down and a capture that is late look like does not stop a promotion. */
  readonly areGatesLax?: boolean;
  /** Applications are killed: what they break off is waited for a shorter time. */
  readonly isBroken?: boolean;
}

const SERVER_FLAGS = ["wal_level=logical", "max_connections=120"].flatMap((one) => ["-c", one]);
const READY_MS_MAX = 120_000;
const EXAMPLES = join(import.meta.dirname, "../../dist/examples/shop-postgres");

/**
 * The shop's config with gates that need few samples, and with alarms that never ring: moves are the
 * test's own.
 */
const config = ({ areGatesLax, isBroken }: Required<WorldOptions>): string => `
import shop from ${JSON.stringify(join(shopFolder(), "banyan.config.ts"))};
const { legacy, new: fresh } = shop.proxy.upstreams;
const quick = { responseMsMax: ${isBroken ? 5_000 : 30_000}, healthEveryMs: 500 };
export default {
  ...shop,
  source: { ...shop.source, publication: "banyan_shop" },
  proxy: {
    ...shop.proxy,
    upstreams: { legacy: { ...legacy, ...quick }, new: { ...fresh, ...quick } },
    accessLog: process.env["SHOP_ACCESS_LOG"] ?? "access.log",
  },
  limits: { batchChangesMax: 100, idleMs: 100 },
  rollout: {
    gates: {
      dualSamplesMin: 1, shadowSamplesMin: 1, trafficSamplesMin: 1, errorRateMax: 1, latencyMsMax: 60000,
      ${areGatesLax ? "dualFailuresMax: 1000000, shadowMatchMin: 0," : ""}
    },
    alarms: { samplesMin: 1000000 },
  },
};
`;

/** Starts all of it, up to a capture behind its baseline and orders at stage legacy. */
export async function openWorld({
  seed,
  proxies,
  orders = 200,
  areGatesLax = false,
  isBroken = false,
}: WorldOptions): Promise<World> {
  const releases: (() => Promise<unknown>)[] = [];
  const release = async (): Promise<void> => {
    for (const one of releases.splice(0).toReversed()) await one();
  };
  try {
    return {
      ...(await begin({ seed, proxies, orders, areGatesLax, isBroken }, releases)),
      [Symbol.asyncDispose]: release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

async function begin(
  options: Required<WorldOptions>,
  releases: (() => Promise<unknown>)[],
): Promise<Omit<World, typeof Symbol.asyncDispose>> {
  const { seed, proxies, orders } = options;
  const [legacy, store] = await Promise.all([openPart("shop"), openPart("events")]);
  for (const { server } of [legacy, store])
    releases.push(async () => server[Symbol.asyncDispose]());
  await seedShop({ url: legacy.database.url, orders, seed });
  // Enough of everything: an order that legacy refuses because the last piece was just sold is no difference.
  await legacy.database.query("UPDATE stock_levels SET quantity = 1000000");
  await legacy.database.query(`CREATE PUBLICATION banyan_shop FOR TABLE ${TABLES.join(", ")}`);
  const folder = configFolder(config(options));
  releases.push(async () => folder[Symbol.dispose]());
  const cwd = folder.directory;
  // Each is bound again whenever its process was killed.
  const [legacyPort, newPort, proxyPort, proxy2Port] = await freePorts(4);
  const url = (port: number | undefined): string => `http://127.0.0.1:${port}`;
  const env = {
    SHOP_URL: legacy.database.url,
    EVENTS_URL: store.database.url,
    SHOP_LEGACY_HTTP: url(legacyPort),
    SHOP_NEW_HTTP: url(newPort),
    SHOP_PROXY_ADMIN_LISTEN: "127.0.0.1:0",
  };
  const kept = (
    name: ProcessName,
    readyText: string,
    args: readonly string[],
    more: Readonly<Record<string, string>> = {},
  ): KeptProcess => new KeptProcess({ name, readyText, args, cwd, env: { ...env, ...more } });
  const proxy = (name: "proxy" | "proxy2", port: number | undefined): KeptProcess =>
    kept(name, "admin plane on", [CLI, "proxy"], {
      SHOP_PROXY_LISTEN: `127.0.0.1:${port}`,
      SHOP_ACCESS_LOG: join(cwd, `${name}.log`),
    });
  const processes: World["processes"] = {
    legacy: kept("legacy", "is open", [join(EXAMPLES, "main.js"), "--port", String(legacyPort)]),
    new: kept("new", "is open", [join(EXAMPLES, "new-main.js"), "--port", String(newPort)]),
    capture: kept("capture", "", [CLI, "run"]),
    proxy: proxy("proxy", proxyPort),
    proxy2: proxy("proxy2", proxy2Port),
    rollout: kept("rollout", "rollout run:", [CLI, "rollout", "run"]),
  };
  const all = Object.values(processes);
  releases.push(() => Promise.all(all.map((one) => one.kill())));

  await Promise.all([processes.legacy.start(), processes.capture.start()]);
  await until("the baseline", READY_MS_MAX, () => hasBaseline(store.database));
  await store.database.query(WITNESS_SQL);
  const used = proxies === 2 ? (["proxy", "proxy2"] as const) : (["proxy"] as const);
  await Promise.all([
    processes.new.start(),
    processes.rollout.start(),
    ...used.map((name) => processes[name].start()),
  ]);
  return {
    ...{ legacy, store, processes },
    proxyUrls: [url(proxyPort), url(proxy2Port)].slice(0, proxies),
    legacyUrl: url(legacyPort),
    newUrl: url(newPort),
    banyan: (...args) => runCli(args, { cwd, env }),
    start: (args, more) => startCli(args, { cwd, env: { ...env, ...more } }),
    accessLines: () => used.flatMap((name) => linesOf(join(cwd, `${name}.log`))),
  };
}

/** Waits for a condition, looking again and again; what it throws meanwhile counts as no. */
export async function until(
  what: string,
  msMax: number,
  holds: () => Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + msMax;
  let failure: unknown;
  while (
    !(await holds().catch((error: unknown) => {
      failure = error;
      return false;
    }))
  ) {
    if (Date.now() > deadline)
      throw new Error(`in vain for ${what} for ${msMax / 1_000} s`, { cause: failure });
    await sleep(100);
  }
}

async function openPart(name: string): Promise<Part> {
  const server = await startTestServer(SERVER_FLAGS);
  return { server, database: await server.createDatabase(name) };
}

async function hasBaseline(database: TestDatabase): Promise<boolean> {
  const { rows } = await database.query(
    "SELECT FROM banyan.pipelines WHERE checkpoint IS NOT NULL",
  );
  return rows.length > 0;
}

async function freePorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

/** A killed proxy may have left a last line that is not whole. */
function linesOf(path: string): readonly unknown[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.endsWith("}"))
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as unknown];
      } catch {
        return [];
      }
    });
}
