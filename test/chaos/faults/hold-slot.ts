import pg from "pg";
import { did, didNot, type Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";

const ATTEMPTS_MAX = 40;
const RETRY_MS = 50;

/** Another program reads the slot, and confirms nothing of what it read. */
export const holdSlot: Fault = {
  name: "slot held by another",
  needs: ["capture", "source"],
  async run({ source, slot, captures }, random, signal) {
    const hold = captures.hold();
    await captures.kill();
    const reader = await takeSlot(source.url, slot);
    hold[Symbol.dispose]();
    if (reader === undefined) return didNot("there was none to be held");
    const ms = between(random, 500, 4_000);
    await pause(ms, signal);
    await reader.end().catch(() => undefined);
    return did(`for ${seconds(ms)}`);
  },
};

/** The one before may hold it for a moment longer. */
async function takeSlot(url: string, slot: string): Promise<pg.Client | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const client = new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: 5_000,
      // We answer nothing, and are not to be missed.
      options: "-c wal_sender_timeout=0",
      replication: "database",
    } as pg.ClientConfig);
    client.on("error", () => undefined);
    try {
      await client.connect();
      await startReading(client, slot);
      return client;
    } catch {
      await client.end().catch(() => undefined);
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
  return undefined;
}

function startReading(client: pg.Client, slot: string): Promise<void> {
  const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
  return new Promise((done, fail) => {
    connection.once("replicationStart", () => done());
    client
      .query(
        `START_REPLICATION SLOT ${slot} LOGICAL 0/0 (proto_version '1', publication_names 'banyan_shop')`,
      )
      .catch(fail);
  });
}
