import { isSameTable, recordedRole } from "../mapping/column-history.ts";
import type { RolePlan, StreamPlan } from "../mapping/stream-plan.ts";
import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import type { Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import type { CapturedTable, RenamedTable } from "../store/event-store.ts";

/** How a config's tables stand to those that the pipeline has captured so far. */
export interface TableChanges {
  /** Without a baseline yet. */
  readonly joining: readonly RolePlan[];
  /** Entries to be written: of tables that left, that were renamed, or are back before they missed anything. */
  readonly noted: readonly CapturedTable[];
  /** Those among them that go on under another name. */
  readonly renamed: readonly RenamedTable[];
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
 * @param mapping of the config, compiled against the tables as they are now
 * @param checkpoint where the pipeline stands, and a table that leaves is left
 * @throws BanyanError `MAPPING_INVALID` for a table that left and would come back, or changes its stream:
 *   what happened to its rows meanwhile, or where they went, no event tells
 */
export function compareTables(
  mapping: {
    readonly streams: readonly StreamPlan[];
    shapeOf(table: string): SourceTable | undefined;
  },
  captured: readonly CapturedTable[],
  checkpoint: Position,
  recorded: ReadonlyMap<number, MappingDefinition>,
): TableChanges {
  const isRenamed = ({ table, stream }: CapturedTable, { tableRef }: RolePlan): boolean =>
    isSameTable(recordedRole(recorded, stream, table), mapping.shapeOf(tableRef.name));
  const roles = mapping.streams.flatMap((stream) => stream.roles);
  if (captured.length === 0) return ofUnknown(roles, checkpoint, recorded);
  const known = new Map(captured.map((table) => [table.table, table]));
  const joining: RolePlan[] = [];
  const noted: CapturedTable[] = [];
  const renamed: RenamedTable[] = [];
  for (const role of roles) {
    const { name } = role.tableRef;
    const before = known.get(name);
    if (before !== undefined) requireSame(before, role);
    if (before !== undefined && before.left === undefined) continue;
    const inPlace = captured.filter(
      (entry) => entry.stream === role.streamType && entry.role === role.role,
    );
    // Left at this very checkpoint is not gone: nothing was missed since.
    const current =
      inPlace.find(({ left }) => left === undefined) ??
      inPlace.find(({ left }) => left === checkpoint);
    const [first] = inPlace;
    if (current !== undefined && (current.table === name || isRenamed(current, role))) {
      const { left: _left, ...entry } = current;
      noted.push({ ...entry, table: name });
      if (current.table !== name) renamed.push({ from: current.table, to: name });
    } else if (before?.left !== undefined) throw leftBefore(name, before.left);
    else if (first !== undefined) throw placeTaken(current ?? first, role);
    else joining.push(role);
  }
  const named = new Set(roles.map(({ tableRef }) => tableRef.name));
  for (const entry of captured) {
    if (entry.left === undefined && !named.has(entry.table))
      noted.push({ ...entry, left: checkpoint });
  }
  return { joining, noted, renamed };
}

/** Of a store that does not know its pipelines' tables yet: those of the mappings so far have a baseline. */
function ofUnknown(
  roles: readonly RolePlan[],
  checkpoint: Position,
  recorded: ReadonlyMap<number, MappingDefinition>,
): TableChanges {
  const isKnown = ({ streamType, tableRef }: RolePlan): boolean =>
    recordedRole(recorded, streamType, tableRef.name) !== undefined;
  return {
    joining: roles.filter((role) => !isKnown(role)),
    noted: capturedAt(roles.filter(isKnown), checkpoint),
    renamed: [],
  };
}

/** What another table's rows were under this name stays in the streams, and nothing would end it. */
function placeTaken(before: CapturedTable, { tableRef, streamType, role }: RolePlan): BanyanError {
  const { name } = tableRef;
  return new BanyanError(
    "MAPPING_INVALID",
    `"${role}" of stream ${streamType} was ${before.table} so far and cannot become ${name}: the rows of the one stay in the streams`,
    {
      hint: `Give ${name} a name of its own in the stream. Was ${before.table} renamed? Rename it back, or give the whole config another name and an empty store, which begins a new history.`,
      detail: { table: name, before: before.table },
    },
  );
}

function leftBefore(table: string, left: Position): BanyanError {
  return new BanyanError(
    "MAPPING_INVALID",
    `${table} was captured until ${left} and then left the config; what happened to its rows since is not known`,
    {
      hint: `Take ${table} out of the config again, or give the whole config another name and an empty store, which begins a new history.`,
      detail: { table, left },
    },
  );
}

function requireSame(before: CapturedTable, { tableRef, streamType, role }: RolePlan): void {
  const { name } = tableRef;
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
