import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, disconnect } from "../connectors/postgres/session.ts";
import { openPostgresEventStore } from "../connectors/postgres/event-store.ts";
import { openPostgresSource } from "../connectors/postgres/source.ts";
import {
  becomes,
  changed,
  deleted,
  inserted,
  stream,
  table,
  updated,
} from "../src/mapping/rules.ts";
import type { BaselineMode } from "../src/pipeline/baseline-plan.ts";
import type { PaceLimits } from "../src/pipeline/chunk-pace.ts";
import { PACE_DEFAULT, runPipeline } from "../src/pipeline/pipeline.ts";
import type { PipelineStatus } from "../src/pipeline/status.ts";
import type { TailLimits } from "../src/pipeline/tail.ts";

/** The traffic of the bar: 70 % update, 25 % insert, 5 % delete. */
const SQL = `
  CREATE TABLE public.items (
    id          bigint PRIMARY KEY,
    customer    text NOT NULL,
    status      text NOT NULL,
    amount      numeric(12,2) NOT NULL,
    updated_at  timestamptz NOT NULL
  );
  CREATE PUBLICATION bench FOR TABLE public.items;

  CREATE PROCEDURE public.traffic(changes int, per_transaction int, first int) LANGUAGE plpgsql AS $$
  DECLARE
    next_id int := first; -- of the next row inserted
    doomed int := 1;      -- of the next row deleted
    slot int;
  BEGIN
    FOR n IN 1..changes LOOP
      slot := n % 20;
      IF slot < 14 THEN
        UPDATE public.items SET status = CASE n % 3 WHEN 0 THEN 'paid' WHEN 1 THEN 'shipped' ELSE 'placed' END,
                         amount = amount + 0.01, updated_at = clock_timestamp()
         WHERE id = doomed + 1000 + (n::bigint * 7919) % (next_id - doomed - 1000);
      ELSIF slot < 19 THEN
        INSERT INTO public.items VALUES (next_id, 'customer ' || next_id % 5000, 'placed', (next_id % 1000) + 0.5, clock_timestamp());
        next_id := next_id + 1;
      ELSE
        DELETE FROM public.items WHERE id = doomed;
        doomed := doomed + 1;
      END IF;
      IF n % per_transaction = 0 THEN COMMIT; END IF;
    END LOOP;
  END $$;`;

const items = table<{
  id: string;
  customer: string;
  status: string;
  amount: string;
  updated_at: string;
}>("items");

/** A mapping as a team would write it: conditions, a condition's data, columns that change together. */
export const STREAMS = {
  item: stream(items, {
    validTime: "updated_at",
    events: {
      ItemPlaced: inserted(items),
      ItemPaid: updated(items, { status: becomes("paid") }, { data: ["amount", "updated_at"] }),
      ItemShipped: updated(
        items,
        { status: becomes("shipped") },
        { data: ["amount", "updated_at"] },
      ),
      ItemRepriced: updated(items, changed("amount"), { data: ["status", "updated_at"] }),
      ItemRemoved: deleted(items),
    },
    otherwise: "ItemAmended",
  }),
};

export const LIMITS: TailLimits = {
  batchChangesMax: 20_000,
  batchBytesMax: 16 * 1024 * 1024,
  lingerMs: 5,
  transactionChangesMax: 50_000,
  transactionBytesMax: 32 * 1024 * 1024,
  idleMs: 1_000,
};

export const PUBLICATION = "bench";

/** Makes table, publication and traffic procedure, and fills the table. */
export async function prepare(
  url: string,
  rows: number,
  identity: "full" | "default",
): Promise<void> {
  await onServer(url, [
    SQL,
    ...(identity === "full" ? ["ALTER TABLE public.items REPLICA IDENTITY FULL"] : []),
    `INSERT INTO public.items SELECT n, 'customer ' || n % 5000, 'placed', (n % 1000) + 0.5, now() FROM generate_series(1, ${rows}) n`,
    "VACUUM ANALYZE public.items",
    "CHECKPOINT",
  ]);
}

export async function onServer(url: string, statements: readonly string[]): Promise<void> {
  const client = await connect({ url, applicationName: "bench" });
  for (const sql of statements) await client.query(sql);
  await disconnect(client);
}

export interface CaptureOptions {
  readonly sourceUrl: string;
  readonly storeUrl: string;
  readonly slot: string;
  /** Decides when it ends; asked after each durable commit and each idle tick. */
  readonly isDone: (status: PipelineStatus) => boolean;
  readonly signal?: AbortSignal;
  readonly baseline?: BaselineMode;
  readonly pace?: Partial<PaceLimits>;
}

/** The product itself, from the slot to the store, until it is done. @returns the last status */
export async function capture({
  sourceUrl,
  storeUrl,
  slot,
  isDone,
  signal,
  baseline = "auto",
  pace,
}: CaptureOptions): Promise<PipelineStatus> {
  const done = new AbortController();
  const spillDirectory = mkdtempSync(join(tmpdir(), "banyan-bench-spill-"));
  const source = openPostgresSource({ url: sourceUrl, slot, publication: PUBLICATION });
  const store = await openPostgresEventStore({ url: storeUrl });
  let last: PipelineStatus | undefined;
  try {
    await runPipeline(
      {
        name: "bench",
        source,
        store,
        streams: STREAMS,
        limits: LIMITS,
        baseline,
        pace: { ...PACE_DEFAULT, ...pace },
        spillDirectory,
        onProgress: (status) => {
          last = status;
          if (isDone(status)) done.abort();
        },
      },
      signal === undefined ? done.signal : AbortSignal.any([done.signal, signal]),
    );
  } finally {
    await source.close();
    await store.close();
    rmSync(spillDirectory, { recursive: true, force: true });
  }
  return last!;
}
