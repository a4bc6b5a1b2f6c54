import type { Fault } from "../fault.ts";
import { oneOf } from "../random.ts";
import { inSession } from "../session.ts";

/** An administrator ends what the capture does in a server. */
export const endSessions: Fault = {
  name: "sessions ended",
  needs: [],
  async run({ source, store }, random) {
    const side = oneOf(random, ["source", "store"] as const);
    const { url } = side === "source" ? source : store;
    const ended = await inSession(url, async (client) => {
      const { rowCount } = await client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name LIKE 'banyan%' AND application_name <> 'banyan embedded'`,
      );
      return rowCount;
    });
    return ended === undefined ? `the ${side} was away` : `${ended} of the ${side}`;
  },
};
