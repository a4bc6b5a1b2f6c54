import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import { connect, disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";

export interface SilenceOptions {
  readonly url: string;
  readonly applicationName: string;
  /** A read that has said nothing for so long is asked after. */
  readonly silenceMs: number;
}

const ANSWER_MS_MAX = 30_000;

/**
 * Tells a server that works in silence, on a large sort say, from a connection whose other end is gone
 * or stuck, of which TCP may never tell: asks on a new connection what the session does.
 *
 * @returns what is wrong, or undefined when the session is at work
 */
export async function askAfter(
  client: pg.Client,
  { url, applicationName }: SilenceOptions,
  doing: string,
): Promise<BanyanError | undefined> {
  // The driver knows the number of its backend, its types do not.
  const { processID } = client as unknown as { processID: number };
  try {
    const asker = await connect({ url, applicationName, answerMsMax: ANSWER_MS_MAX });
    try {
      // A session that waits to send, while nothing comes here, has no way to us.
      const { rowCount } = await asker.query(
        "SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event IS DISTINCT FROM 'ClientWrite'",
        [processID],
      );
      if (rowCount === 1) return undefined;
    } finally {
      await disconnect(asker);
    }
  } catch (error) {
    return classify(error, "source", doing);
  }
  return new BanyanError(
    "SOURCE_UNREACHABLE",
    `${doing}: the connection is silent and its session gone or stuck`,
    {
      hint: "The network or the server is stuck; it is tried again.",
    },
  );
}
