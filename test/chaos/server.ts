import { join } from "node:path";
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../connectors/embedded/embedded-postgres.ts";
import { findPostmaster, stopPostmaster } from "../../connectors/embedded/postmaster.ts";
import { freePort } from "../support/free-port.ts";

/** A Postgres of the round's own, which is crashed and started again on the same port. */
export interface ChaosServer extends AsyncDisposable {
  readonly port: number;
  /** Superuser's, to its one database. */
  readonly url: string;
  /** Of that database. */
  readonly name: string;
  /** `immediate`: as a crash; `fast`: sessions are ended and everything is written out. */
  stop(mode: "fast" | "immediate"): Promise<void>;
  /** Does nothing when it runs. */
  start(): Promise<void>;
}

const DATABASE = "chaos";
const FLAGS = {
  // A crash of the server only, never of the machine, loses nothing of what it told the system.
  fsync: "off",
  wal_level: "logical",
  max_wal_senders: "20",
  max_replication_slots: "20",
  max_prepared_transactions: "10",
  max_connections: "60",
  // So long the server keeps a reader of which it hears nothing.
  wal_sender_timeout: "2500ms",
  // Crash recovery reads little.
  checkpoint_timeout: "30s",
} as const;

/** @param dir an empty folder, the caller's to remove after the server has ended */
export async function startChaosServer(dir: string): Promise<ChaosServer> {
  const flags = Object.entries(FLAGS).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  // It is bound again at each start.
  const port = await freePort();
  const begin = (): Promise<EmbeddedPostgres> => startEmbeddedPostgres({ dir, flags, port });
  let server = await begin();
  const { dataDir } = server;
  await server.createDatabase(DATABASE);
  const isRunning = (): boolean => findPostmaster(dataDir) !== undefined;
  return {
    port,
    url: server.url(DATABASE),
    name: DATABASE,
    stop: (mode) => server.stop(mode),
    async start() {
      if (isRunning()) return;
      // One that ended by itself is left behind.
      await server.stop("immediate");
      server = await begin();
    },
    async [Symbol.asyncDispose]() {
      await server.stop("immediate");
      const running = findPostmaster(dataDir);
      if (running !== undefined) await stopPostmaster(dataDir, running, "immediate");
    },
  };
}

/** Ends the server that a killed run left in this folder. */
export async function endServerIn(dir: string): Promise<void> {
  const dataDir = join(dir, "data");
  const running = findPostmaster(dataDir);
  if (running !== undefined) await stopPostmaster(dataDir, running, "immediate");
}
