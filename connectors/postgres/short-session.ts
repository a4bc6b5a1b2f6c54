import type pg from "pg";
import { disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import { openSession, resolveStoreUrl } from "./store-session.ts";

/** An answer that comes later than this is not waited for; the session is made anew. */
const ANSWER_MS_MAX = 2_000;

/** A session of the store for statements that are short or given up. It is made when it is needed. */
export class ShortSession {
  readonly #url: string;
  #session: Promise<pg.Client> | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  /** @param doing for the error @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED` */
  async query<Row extends pg.QueryResultRow>(
    doing: string,
    text: string,
    values: readonly unknown[],
  ): Promise<readonly Row[]> {
    // A promise that failed stays for as long as those that met it.
    const session = (this.#session ??= resolveStoreUrl(this.#url).then(openSession));
    try {
      const client = await session;
      const config = { text, values: [...values], query_timeout: ANSWER_MS_MAX };
      return (await client.query<Row>(config as pg.QueryConfig)).rows;
    } catch (error) {
      // Another call may have made a new one since.
      if (this.#session === session) await this.close();
      throw classify(error, "store", doing);
    }
  }

  async close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    const client = await session?.catch(() => undefined);
    if (client !== undefined) await disconnect(client);
  }
}
