import type { ColumnDomain } from "./canonical-value.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import type { CompiledRule } from "../mapping/compiled-rule.ts";
import type { Rule } from "../mapping/rules.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Cells, SourceColumn, SourceTable } from "../model/table.ts";
import type { TableSample } from "../source/row-sample.ts";

/** A mapped table with all that is known of its values. */
export interface LawTable {
  readonly table: SourceTable;
  readonly mapper: TableMapper;
  /** By column index. */
  readonly domains: readonly ColumnDomain[];
  /** Columns of the key, and those that say which stream a row is in: a change of one moves the row. */
  readonly fixed: ReadonlySet<number>;
  readonly samples: readonly Cells[];
  /** Why no more rows were read. */
  readonly leftOut: string | undefined;
}

export interface LawStream {
  readonly plan: StreamPlan;
  /** The root first. */
  readonly tables: readonly LawTable[];
}

/** The streams of a compiled mapping, with what a sample of the tables says of them. */
export function lawStreams(
  mapping: Mapping,
  samples: readonly TableSample[],
): readonly LawStream[] {
  const byName = new Map(samples.map((sample) => [sample.table, sample]));
  return mapping.streams.map((plan) => ({
    plan,
    tables: plan.roles.flatMap(({ tableRef }) => {
      const table = mapping.shapeOf(tableRef.name);
      const mapper = table === undefined ? undefined : mapping.mapperOf(table);
      if (table === undefined || mapper === undefined) return [];
      return [lawTable(table, mapper, byName.get(table.name))];
    }),
  }));
}

function lawTable(
  table: SourceTable,
  mapper: TableMapper,
  sample: TableSample | undefined,
): LawTable {
  return {
    table,
    mapper,
    domains: table.columns.map((column) => domainOf(column, sample)),
    fixed: new Set([...table.key, ...mapper.parts.streamColumns]),
    samples: sample?.rows ?? [],
    leftOut: sample?.leftOut,
  };
}

function domainOf(column: SourceColumn, sample: TableSample | undefined): ColumnDomain {
  const known = sample?.columns.get(column.name);
  const type = known?.baseType ?? column.type;
  if (column.codec === "bool") return { type, allowed: ["t", "f"] };
  return { type, allowed: known?.allowed };
}

/** The rules about a table, in the order written, by what they fire on. */
export function rulesOf({ mapper }: LawTable, operation: Rule["on"]): readonly CompiledRule[] {
  switch (operation) {
    case "insert":
      return mapper.parts.inserts;
    case "update":
      return mapper.parts.updates;
    case "delete":
      return mapper.parts.deletes;
  }
}

/** A rule as the config has it. */
export function writtenRule({ rules }: StreamPlan, { slot }: CompiledRule): Rule {
  return rules.find((rule) => rule.slot === slot)!.rule;
}
