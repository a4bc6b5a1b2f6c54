import { join } from "node:path";
import type { LoadedConfig } from "../config/load-config.ts";
import type { PipelineOptions } from "../pipeline/pipeline.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { EventStore } from "../store/event-store.ts";

/** The pipeline of a config, for whichever command runs it. */
export function pipelineOptions(
  config: LoadedConfig,
  source: ChangeSource,
  store: EventStore,
): PipelineOptions {
  return {
    name: config.name,
    source,
    store,
    streams: config.streams,
    limits: config.limits,
    pace: config.limits,
    spillDirectory: join(config.directory, ".banyan", `spill-${config.name}`),
  };
}
