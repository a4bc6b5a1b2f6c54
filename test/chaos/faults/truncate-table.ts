import type { Fault } from "../fault.ts";
import { between } from "../random.ts";
import { inSession } from "../session.ts";

/** A table is emptied in one statement, among other changes of its rows. */
export const truncateTable: Fault = {
  name: "table truncated",
  needs: ["schema"],
  async run({ source }, random) {
    const commits = random() < 0.8;
    const many = between(random, 1, 20);
    const insert = `INSERT INTO shipments (order_id, carrier, parcels_g)
      SELECT id, 'bike', '{100}' FROM orders ORDER BY id DESC LIMIT ${many}`;
    const done = await inSession(source.url, (client) =>
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
    );
    if (done === undefined) return "given up, others were in the way";
    return commits ? `and ${many} rows inserted` : "and rolled back";
  },
};
