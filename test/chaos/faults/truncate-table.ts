import { did, didNot, type Fault } from "../fault.ts";
import { between } from "../random.ts";
import { inSession, persist } from "../session.ts";

/** A capture that reads rows under one snapshot, and stands still for a while, hears of it late. */
const HEARD_MS_MAX = 20_000;

/** A table is emptied in one statement, among other changes of its rows. */
export const truncateTable: Fault = {
  name: "table truncated",
  needs: ["schema"],
  isEarly: true,
  async run({ source, captures }, random, signal) {
    const commits = random() < 0.8;
    const many = between(random, 1, 20);
    const insert = `INSERT INTO shipments (order_id, carrier, parcels_g)
      SELECT id, 'bike', '{100}' FROM orders ORDER BY id DESC LIMIT ${many}`;
    // A snapshot that is being read does not show the rows any more, which is refused.
    using _ = captures.explain("SOURCE_NOT_READY", HEARD_MS_MAX);
    const done = await persist(signal, () =>
      inSession(source.url, (client) =>
        client.query(
          [
            "BEGIN",
            "LOCK TABLE shipments",
            "UPDATE shipments SET carrier = 'by hand' WHERE id = (SELECT max(id) FROM shipments)",
            insert,
            "TRUNCATE shipments",
            insert,
            commits ? "COMMIT" : "ROLLBACK",
          ].join(";\n"),
        ),
      ),
    );
    if (done === undefined) return didNot("given up, others were in the way");
    return did(commits ? `and ${many} rows inserted` : "and rolled back");
  },
};
