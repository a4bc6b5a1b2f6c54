import { join } from "node:path";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import { postgresLegacyIds } from "../../connectors/postgres/legacy-ids.ts";
import { postgresLegacyWriter } from "../../connectors/postgres/legacy-writer.ts";
import { PostgresRolloutState } from "../../connectors/postgres/rollout-state.ts";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { shopFolder } from "../../examples/shop-postgres/seed.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { runPipeline } from "../../src/pipeline/pipeline.ts";
import { MovedStreams } from "../../src/rollout/moved-streams.ts";
import { runIdReservation } from "../../src/reverse/run-id-reservation.ts";
import { runReverse } from "../../src/reverse/run-reverse.ts";
import { runWithRetry } from "../../src/runtime/loop.ts";
import { runJudge } from "../../src/verify/dual/run-judge.ts";

/* One loop of the shop's migration as a process of its own, that can be killed: `capture`, or `daemon`. */

const [, , what, legacyUrl, storeUrl, slot, spill] = process.argv;
const url = legacyUrl!;
process.env["SHOP_URL"] = url;
const { streams, dual, limits } = await loadConfig(join(shopFolder(), "banyan.config.ts"));
const store = await openPostgresEventStore({ url: storeUrl! });
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort());
const { signal } = stopping;
const pipeline = "shop";
const openSource = () =>
  openPostgresSource({ url, slot: slot!, publication: "banyan_shop", pipeline });

if (what === "capture") {
  const state = new PostgresRolloutState(storeUrl!, pipeline);
  const authority = new MovedStreams(state);
  await runWithRetry({
    backoffMsMin: 50,
    backoffMsMax: 500,
    steadyMs: 30_000,
    signal,
    onRetry: ({ error }) => process.stderr.write(`capture again: ${error.code} ${error.message}\n`),
    attempt: async () => {
      const source = openSource();
      const more = { limits: { ...limits, idleMs: 50, lingerMs: 0 }, authority };
      try {
        await runPipeline(
          {
            ...{ name: pipeline, source, store, streams, ...more },
            spillDirectory: spill!,
            onProgress: () => undefined,
          },
          signal,
        );
      } finally {
        await source.close();
      }
    },
  });
  await state.close();
} else {
  const source = openSource();
  const onRetry = ({ error }: { readonly error: Error }): void =>
    void process.stderr.write(`daemon again: ${error.message}\n`);
  await Promise.all([
    runReverse(
      {
        pipeline,
        store,
        streams,
        openLegacy: () => postgresLegacyWriter({ url, pipeline }),
        onRetry,
      },
      signal,
    ),
    runIdReservation(
      { pipeline, store, openIds: () => postgresLegacyIds({ url }), onRetry },
      signal,
    ),
    runJudge(
      { pipeline, store, streams, settings: dual, fence: () => source.fence(), onRetry },
      signal,
    ),
  ]);
  await source.close();
}
await store.close();
