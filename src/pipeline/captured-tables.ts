import type { RolePlan, StreamPlan } from "../mapping/compile.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import type { CapturedTable } from "../store/event-store.ts";

/** How a config's tables stand to those that the pipeline has captured so far. */
export interface TableChanges {
  /** Without a baseline yet. */
  readonly joining: readonly RolePlan[];
  /** Entries to be written: of tables that the config no longer has. */
  readonly noted: readonly CapturedTable[];
}

/** Entries for tables that get their baseline at this position. */
export function capturedAt(
  roles: readonly RolePlan[],
  since: Position,
  seen?: string,
): readonly CapturedTable[] {
  return roles.map(({ tableRef, streamType, role }) => ({
    table: tableRef.name,
    stream: streamType,
    role,
    since,
    ...(seen === undefined ? {} : { seen }),
  }));
}

/**
 * Compares the config with what the pipeline has captured.
 *
 * @param checkpoint where the pipeline stands, and a table that leaves is left
 * @throws BanyanError `MAPPING_INVALID` for a table that left and would come back, or changes its stream:
 *   what happened to its rows meanwhile, or where they went, no event tells
 */
export function compareTables(
  streams: readonly StreamPlan[],
  captured: readonly CapturedTable[],
  checkpoint: Position,
): TableChanges {
  const roles = streams.flatMap((stream) => stream.roles);
  // Of a store that knows of no tables yet: they had their baseline together.
  if (captured.length === 0) return { joining: [], noted: capturedAt(roles, checkpoint) };
  const known = new Map(captured.map((table) => [table.table, table]));
  const joining: RolePlan[] = [];
  for (const role of roles) {
    const before = known.get(role.tableRef.name);
    if (before === undefined) joining.push(role);
    else requireSame(before, role);
  }
  const named = new Set(roles.map(({ tableRef }) => tableRef.name));
  const noted = captured
    .filter(({ table, left }) => left === undefined && !named.has(table))
    .map((table) => ({ ...table, left: checkpoint }));
  return { joining, noted };
}

function requireSame(before: CapturedTable, { tableRef, streamType, role }: RolePlan): void {
  const { name } = tableRef;
  if (before.left !== undefined) {
    throw new BanyanError(
      "MAPPING_INVALID",
      `${name} was captured until ${before.left} and then left the config; what happened to its rows since is not known`,
      {
        hint: `Take ${name} out of the config again, or give the whole config another name and an empty store, which begins a new history.`,
        detail: { table: name, left: before.left },
      },
    );
  }
  if (before.stream === streamType && before.role === role) return;
  throw new BanyanError(
    "MAPPING_INVALID",
    `${name} is captured as "${before.role}" of stream ${before.stream}, but the config has it as "${role}" of ${streamType}; its rows cannot move to other streams`,
    {
      hint: `Name it "${before.role}" of ${before.stream} as before, or give the whole config another name and an empty store, which begins a new history.`,
      detail: { table: name, stream: before.stream, role: before.role },
    },
  );
}
