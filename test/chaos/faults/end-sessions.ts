import { did, didNot, type Fault } from "../fault.ts";
import { oneOf } from "../random.ts";
import { inSession } from "../session.ts";

/** An administrator ends what the capture does in a server. */
export const endSessions: Fault = {
  name: "sessions ended",
  needs: [],
  isEarly: true,
  async run({ source, store }, random) {
    const side = oneOf(random, ["source", "store"] as const);
    const { url } = side === "source" ? source : store;
    const ended = await inSession(url, async (client) => {
      const { rowCount } = await client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name LIKE 'banyan%' AND application_name <> 'banyan embedded'`,
      );
      return rowCount ?? 0;
    });
    if (ended === undefined) return didNot(`the ${side} was away`);
    return ended === 0 ? didNot(`there were none in the ${side}`) : did(`${ended} of the ${side}`);
  },
};
