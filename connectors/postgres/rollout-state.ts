import type pg from "pg";
import { disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import { openSession, resolveStoreUrl } from "./store-session.ts";
import type { RolloutState } from "../../src/rollout/rollout-state.ts";
import type { Rollout, Stage } from "../../src/rollout/stage.ts";

/** A state that comes later than this is not waited for; the session is made anew. */
const READ_MS_MAX = 2_000;

interface Row {
  readonly stream_type: string;
  readonly stage: Stage;
  readonly share: number;
  readonly salt: string;
  readonly epoch: string;
  readonly held_from: number | null;
  readonly held_to: number | null;
  readonly left_ms: number | null;
}

const READ = `
  SELECT stream_type, stage, share, salt, epoch::text, held_from, held_to,
         extract(epoch FROM held_until - clock_timestamp())::float8 * 1000 AS left_ms
    FROM banyan.rollouts WHERE pipeline = $1`;

/** Reads banyan.rollouts of the store, in a session of its own that is made when it is needed. */
export class PostgresRolloutState implements RolloutState {
  readonly #url: string;
  readonly #pipeline: string;
  #session: Promise<pg.Client> | undefined;

  /** @param pipeline name of the migration */
  constructor(url: string, pipeline: string) {
    this.#url = url;
    this.#pipeline = pipeline;
  }

  async read(): Promise<ReadonlyMap<string, Rollout>> {
    // A promise that failed stays for as long as the one read that met it.
    const session = (this.#session ??= resolveStoreUrl(this.#url).then(openSession));
    try {
      const client = await session;
      const { rows } = await client.query<Row>({
        text: READ,
        values: [this.#pipeline],
        query_timeout: READ_MS_MAX,
      } as pg.QueryConfig);
      return new Map(rows.map((row) => [row.stream_type, rolloutOf(row)]));
    } catch (error) {
      await this.close();
      throw classify(error, "store", "reading the rollout");
    }
  }

  async close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    const client = await session?.catch(() => undefined);
    if (client !== undefined) await disconnect(client);
  }
}

function rolloutOf({ stage, share, salt, epoch, ...held }: Row): Rollout {
  const rollout = { stage, share, salt, epoch: Number(epoch) };
  if (held.held_from === null || held.held_to === null || held.left_ms === null) return rollout;
  return { ...rollout, hold: { from: held.held_from, to: held.held_to, leftMs: held.left_ms } };
}
