import { postgresLegacyIds } from "../../connectors/postgres/legacy-ids.ts";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import { postgresLegacyWriter } from "../../connectors/postgres/legacy-writer.ts";
import { child, stream, table } from "../../src/mapping/rules.ts";
import { runIdReservation } from "../../src/reverse/run-id-reservation.ts";
import { runReverse } from "../../src/reverse/run-reverse.ts";

/* A process of its own that can be killed: writes back, or reserves ids, until SIGTERM. */

const [, , what, legacyUrl, storeUrl] = process.argv;
const url = legacyUrl!;
const store = await openPostgresEventStore({ url: storeUrl! });
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort());
const streams = {
  account: stream(table("account"), {
    children: { entries: child(table("entry"), { account_id: "id" }) },
    otherwise: "AccountAmended",
  }),
  loan: stream(table("loan"), { otherwise: "LoanAmended" }),
};
const pipeline = "shop";
if (what === "ids") {
  const openIds = () => postgresLegacyIds({ url });
  await runIdReservation({ pipeline, store, openIds }, stopping.signal);
} else {
  const openLegacy = () => postgresLegacyWriter({ url, pipeline });
  await runReverse({ pipeline, store, streams, openLegacy }, stopping.signal);
}
await store.close();
