import { test } from "vitest";
import { runBanyan, runToEnd } from "../support/crash-capture.ts";
import {
  fork,
  openOrigin,
  write,
  beginTransaction,
  writeLargeTransaction,
  writeSchemaChange,
  writeTruncate,
} from "../support/crash-log.ts";
import { ask } from "../support/crash-store.ts";

test("tail", async () => {
  await using origin = await openOrigin("failpoints", 11);
  const { shop } = origin;
  const commit = await beginTransaction(shop);
  await write(shop, 11, 300);
  await commit();
  await writeLargeTransaction(shop);
  await writeTruncate(shop);
  await writeSchemaChange(shop);
  await write(shop, 12, 150);
  await using uninterrupted = await fork(origin, "uninterrupted");
  await runToEnd(uninterrupted);
  await using parked = await fork(origin, "parked");
  await runToEnd({ ...parked, isBroken: true });
  const q = await ask(
    parked.storeUrl,
    "SELECT stream_id, position, table_name, operation, code, reason, change->>'half' half FROM banyan.quarantine ORDER BY id",
  );
  await runBanyan(parked, "quarantine", "retry");
  await runToEnd(parked);
  const sql =
    "SELECT stream_id, version, event_id, type, source_position, data::text FROM banyan.events ORDER BY stream_id, version";
  const a = await ask<{ stream_id: string }>(uninterrupted.storeUrl, sql);
  const b = await ask<{ stream_id: string }>(parked.storeUrl, sql);
  const by = (l: { stream_id: string }[]) => {
    const m = new Map<string, string[]>();
    for (const e of l)
      m.set(e.stream_id, [...(m.get(e.stream_id) ?? []), JSON.stringify(e).slice(0, 300)]);
    return m;
  };
  const [ma, mb] = [by(a), by(b)];
  let shown = 0;
  for (const k of new Set([...ma.keys(), ...mb.keys()])) {
    const [x, y] = [ma.get(k) ?? [], mb.get(k) ?? []];
    if (x.join("\n") === y.join("\n")) continue;
    if (shown++ > 5 && x.length === y.length) continue;
    process.stderr.write(
      `--- ${k}\nplain\n ${x.join("\n ")}\nreleased\n ${y.join("\n ")}\nparked\n ${q
        .filter((r) => (r as { stream_id: string }).stream_id === k)
        .map((r) => JSON.stringify(r))
        .join("\n ")}\n`,
    );
  }
  process.stderr.write(`${shown}\n`);
  process.stderr.write(
    JSON.stringify(
      await ask(
        parked.storeUrl,
        "select state, code, count(*) from banyan.quarantine group by 1,2",
      ),
    ),
  );
});
