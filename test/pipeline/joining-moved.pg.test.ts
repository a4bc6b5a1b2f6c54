import pg from "pg";
import { expect, test } from "vitest";
import { PostgresRolloutState } from "../../connectors/postgres/rollout-state.ts";
import { child, stream, table, type ChildRef, type StreamRef } from "../../src/mapping/rules.ts";
import { MovedStreams } from "../../src/rollout/moved-streams.ts";
import { chunkBench, PACE, STREAMS, type ChunkBench } from "../support/chunk-bench.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";

const ticket = table<{ id: number; n: number }>("ticket");
const remark = table<{ id: number; ticket_id: number; n: number }>("remark");
const of = (children: Readonly<Record<string, ChildRef>>): Readonly<Record<string, StreamRef>> => ({
  customer: STREAMS["customer"]!,
  ticket: stream(ticket, { children, otherwise: "TicketAmended" }),
});
const ALONE = of({});
const WITH_CHILD = of({ remarks: child(remark, { ticket_id: "id" }) });

interface MovedBench extends AsyncDisposable {
  readonly b: ChunkBench;
  start(streams: Readonly<Record<string, StreamRef>>): Promise<LivePipeline>;
  move(type: string, stage: string): Promise<void>;
}

/** A pipeline that has captured tickets without their remarks. */
async function movedBench(baseline: "snapshot" | "chunked", rows: number): Promise<MovedBench> {
  const b = await chunkBench("default", rows);
  const state = new PostgresRolloutState(b.storeUrl, "chunks");
  const more = { baseline, pace: { ...PACE, baselineChunkRowsMax: 10 } };
  const start: MovedBench["start"] = (streams) =>
    startPipeline({
      name: "chunks",
      openSource: () => b.db.open(),
      store: b.store,
      streams,
      // As each attempt of `banyan run` has one of its own.
      more: { ...more, authority: new MovedStreams(state) },
    });
  {
    await using first = await start(ALONE);
    await first.until(() => first.status()?.phase === "tail");
    await first.reach();
    await first.stop();
  }
  return {
    b,
    start,
    async move(type, stage) {
      const client = new pg.Client({ connectionString: b.storeUrl });
      await client.connect();
      await client.query(
        `INSERT INTO banyan.rollouts (pipeline, stream_type, stage, share, salt) VALUES ('chunks', $1, $2, 1000, 'x')
         ON CONFLICT (pipeline, stream_type) DO UPDATE SET stage = excluded.stage, epoch = rollouts.epoch + 1`,
        [type, stage],
      );
      await client.end();
    },
    async [Symbol.asyncDispose]() {
      await state.close();
      await b[Symbol.asyncDispose]();
    },
  };
}

test.each(["snapshot", "chunked"] as const)(
  "a table joins aggregates of legacy while others have moved (%s)",
  async (baseline) => {
    await using m = await movedBench(baseline, 60);
    await m.move("customer", "canary");
    await using second = await m.start(WITH_CHILD);
    await second.until(() => second.status()?.phase === "tail");
    await second.reach();
    expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
    await second.stop();
  },
);

test.each(["snapshot", "chunked"] as const)(
  "none joins aggregates over which the new service decides, whose decisions would be told over (%s)",
  async (baseline) => {
    await using m = await movedBench(baseline, 600);
    const before = (await m.b.store.readAll(undefined, 10_000)).events.length;
    await m.move("ticket", "canary");
    const refused = {
      code: "SOURCE_NOT_READY",
      recovery: "operator",
      message: "public.remark cannot join: aggregates of ticket have moved to the new service",
    };
    {
      await using second = await m.start(WITH_CHILD);
      await expect(second.until(() => false)).rejects.toMatchObject({
        ...refused,
        hint: expect.stringContaining("Take public.remark out of the config, or") as unknown,
      });
    }
    expect((await m.b.store.readAll(undefined, 10_000)).events).toHaveLength(before);
    await m.move("ticket", "shadow");
    if (baseline === "chunked") {
      {
        await using third = await m.start(WITH_CHILD);
        await third.until(async () =>
          (await m.b.store.pipeline("chunks"))!.baselines!.some(
            ({ tables, chunksRead }) => tables !== undefined && chunksRead > 1,
          ),
        );
        await third.stop();
      }
      await m.move("ticket", "canary");
      await using fourth = await m.start(WITH_CHILD);
      await expect(fourth.until(() => false)).rejects.toMatchObject({
        ...refused,
        hint: expect.stringMatching(/^Take ticket back first: banyan rollout rollback/) as unknown,
      });
      await m.move("ticket", "shadow");
    }
    await using last = await m.start(WITH_CHILD);
    await last.until(() => last.status()?.phase === "tail");
    await last.reach();
    expect(await last.verify()).toMatchObject({ state: "equal", samples: [] });
    await last.stop();
  },
);
