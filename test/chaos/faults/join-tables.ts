import { did, didNot, type Fault } from "../fault.ts";
import { between, pause } from "../random.ts";
import { inSession, persist } from "../session.ts";

const PATIENCE_MS = 5_000;
const POLL_MS = 100;

/** Tables that were left out come to the publication and into the config, and the capture is started again with it. */
export const joinTables: Fault = {
  name: "tables join",
  needs: ["capture", "schema"],
  async run(world, random, signal) {
    const { captures, source, variant } = world;
    const { joining } = variant;
    if (joining.length === 0 || world.captured().length === world.tables.length)
      return didNot("there is nothing left to join");
    if ((await world.phase()) !== "tail") return didNot("not yet: there is no baseline");
    const isPublished = await persist(signal, () =>
      inSession(source.url, async (client) => {
        const { rowCount } = await client.query(
          "SELECT FROM pg_publication_tables WHERE pubname = 'banyan_shop' AND tablename = $1",
          [joining[0]],
        );
        if (rowCount === 0)
          await client.query(`ALTER PUBLICATION banyan_shop ADD TABLE ${joining.join(", ")}`);
        return true;
      }),
    );
    if (isPublished !== true) return didNot("the source was away, or others were in the way");
    {
      using _ = captures.hold();
      await captures.terminate(PATIENCE_MS);
      world.join();
    }
    // The next fault of the capture is to meet their baseline at times.
    const deadline = performance.now() + between(random, 0, 8_000);
    while (!(await world.isWhole(joining[0]!))) {
      if (performance.now() > deadline || signal.aborted)
        return did(`${joining.join(" and ")}, whose baseline goes on`);
      await pause(POLL_MS, signal);
    }
    return did(joining.join(" and "));
  },
};
