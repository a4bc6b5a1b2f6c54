import { existsSync } from "node:fs";
import type { LoadedConfig } from "../config/load-config.ts";
import { compareMappings, type MappingChange } from "../mapping/compare-mappings.ts";
import type { Mapping } from "../mapping/compile.ts";
import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import { compareTables } from "../pipeline/captured-tables.ts";
import type { PipelineStatus } from "../pipeline/status.ts";
import type { Finding } from "../source/change-source.ts";
import type { EventStore, PipelineRecord } from "../store/event-store.ts";

/** What the pipeline has done so far: its mappings, and where it stands. */
export interface History {
  readonly mappings: ReadonlyMap<number, MappingDefinition>;
  readonly record: PipelineRecord;
}

/** How a config differs from the mapping that events are told by now. */
export interface MappingChanges {
  /** Number of that mapping. */
  readonly from: number;
  readonly changes: readonly MappingChange[];
}

/** SQLSTATEs of a store in which nothing was ever made. */
const NOTHING_THERE = new Set(["42P01", "3F000", "3D000"]);

/**
 * Reads what the store has of this pipeline, without making anything. Undefined when it has never run;
 * a store that cannot be asked is a finding, because the config may be right all the same.
 */
export async function readHistory(
  { name, store: where }: Pick<LoadedConfig, "name" | "store">,
  open: () => Promise<EventStore>,
): Promise<{ readonly history?: History; readonly finding?: Finding }> {
  if (where.kind === "embedded" && !existsSync(where.directory)) return {};
  try {
    const store = await open();
    const record = await store.pipeline(name);
    if (record?.checkpoint === undefined) return {};
    return { history: { record, mappings: await store.mappings() } };
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    const { code } = (error.cause ?? {}) as { readonly code?: string };
    if (code !== undefined && NOTHING_THERE.has(code)) return {};
    const message = `the store could not be asked what has run so far: ${error.message}`;
    return { finding: { severity: "warning", code: "history-unread", message } };
  }
}

/** What the next start of `banyan run` would change, and what would keep it from starting. */
export function compareWithHistory(
  mapping: Mapping,
  { mappings, record }: History,
): { readonly changes?: MappingChanges; readonly finding?: Finding } {
  const { mapping: told } = (record.status ?? {}) as Partial<PipelineStatus>;
  const before = told === undefined ? undefined : mappings.get(told.version);
  const result =
    told === undefined || before === undefined
      ? {}
      : { changes: { from: told.version, changes: compareMappings(before, mapping.definition()) } };
  try {
    compareTables(mapping, record.tables, record.checkpoint!, mappings);
    return result;
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    const message = `${error.message}. ${error.hint ?? ""}`;
    return { ...result, finding: { severity: "error", code: "table-cannot-change", message } };
  }
}
