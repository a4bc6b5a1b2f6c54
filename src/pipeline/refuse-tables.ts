import type { Mapping } from "../mapping/compile.ts";
import type { RolePlan } from "../mapping/stream-plan.ts";
import { BanyanError } from "../model/errors.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { Authority } from "../store/authority.ts";
import type { BaselineRecord, CapturedTable } from "../store/event-store.ts";

/** Rows of a further table would be told in aggregates that are not there yet. */
export function refuseUnfinished(
  records: readonly BaselineRecord[],
  joining: readonly RolePlan[],
): void {
  const unfinished = new Set(records.filter(({ done }) => !done).map(({ stream }) => stream));
  const early = joining.filter(({ streamType }) => unfinished.has(streamType));
  if (early.length === 0) return;
  const list = early.map(({ tableRef }) => tableRef.name).join(", ");
  throw new BanyanError(
    "SOURCE_NOT_READY",
    `${list} cannot join yet: the baseline of ${early[0]!.streamType} is still being read in chunks`,
    {
      hint: `Take ${list} out of the config until \`banyan status\` says that the baseline is done.`,
      detail: { tables: list },
    },
  );
}

/** Chunks that are read without a table would lack its rows for ever, if it came back. */
export async function refuseLeaving(
  source: ChangeSource,
  records: readonly BaselineRecord[],
  noted: readonly CapturedTable[],
): Promise<void> {
  const unfinished = new Set(records.filter(({ done }) => !done).map(({ stream }) => stream));
  const goesOn = ({ stream, role }: CapturedTable): boolean =>
    noted.some((one) => one.left === undefined && one.stream === stream && one.role === role);
  for (const entry of noted) {
    const { table, stream, left } = entry;
    // One that was renamed has not left, whatever has its name now.
    if (left === undefined || !unfinished.has(stream) || goesOn(entry)) continue;
    if (!(await isThere(source, table))) continue;
    throw new BanyanError(
      "SOURCE_NOT_READY",
      `${table} cannot leave yet: the baseline of ${stream} is still being read in chunks`,
      {
        hint: `Put ${table} back into the config until \`banyan status\` says that the baseline is done; or drop it, if it is not needed.`,
        detail: { table, stream },
      },
    );
  }
}

/**
 * Rows of a further table would be told in aggregates over which the new service decides, which may have
 * decided about these very rows since they were read. Also learns who decides, for the commit of events in
 * streams that go on is held to it.
 */
export async function refuseMoved(
  authority: Authority | undefined,
  mapping: Mapping,
  joining: readonly RolePlan[],
  records: readonly BaselineRecord[],
): Promise<void> {
  if (authority === undefined) return;
  await authority.refresh();
  const wanted = new Set(joining.map(({ tableRef }) => tableRef.name));
  const begun = records.flatMap(({ done, tables }) => (done ? [] : (tables ?? [])));
  const names = new Set([...wanted, ...begun]);
  for (const { type, roles } of mapping.streams) {
    const tables = roles.map(({ tableRef }) => tableRef.name);
    const further = tables.filter((name) => names.has(name));
    const isWhole = further.length === tables.length;
    if (further.length === 0 || isWhole || !authority.hasMovedOf(type)) continue;
    const list = further.join(", ");
    const isBegun = !further.some((name) => wanted.has(name));
    const back = `ake ${type} back first: banyan rollout rollback ${type}`;
    throw new BanyanError(
      "SOURCE_NOT_READY",
      `${list} cannot join: aggregates of ${type} have moved to the new service`,
      {
        hint: isBegun ? `T${back}` : `Take ${list} out of the config, or t${back}`,
        detail: { tables: list, stream: type },
      },
    );
  }
}

async function isThere(source: ChangeSource, name: string): Promise<boolean> {
  try {
    return (await source.discover([{ name }])).length > 0;
  } catch (error) {
    if (error instanceof BanyanError && error.code === "TABLE_MISSING") return false;
    throw error;
  }
}
