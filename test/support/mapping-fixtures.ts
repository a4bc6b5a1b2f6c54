import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { ChangeMapper, type MappedChanges } from "../../src/mapping/change-mapper.ts";
import { compileMapping, type Mapping } from "../../src/mapping/compile.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type {
  Change,
  Intent,
  Operation,
  RowChange,
  SourceTransaction,
} from "../../src/model/change.ts";
import type { Position } from "../../src/model/position.ts";
import type { CodecName, Cells, ReplicaIdentity, SourceTable } from "../../src/model/table.ts";

/** A table shape from `name:type` words; a leading `*` marks a key column. */
export function shape(
  name: string,
  columns: string,
  replicaIdentity: ReplicaIdentity = "full",
): SourceTable {
  const parsed = columns.split(" ").map((word) => {
    const [columnName, type = "text"] = word.replace("*", "").split(":");
    return { name: columnName!, type, codec: codecOf(type), nullable: !word.startsWith("*") };
  });
  const key = columns.split(" ").flatMap((word, i) => (word.startsWith("*") ? [i] : []));
  const [schema, relation] = name.split(".");
  return { name, schema: schema!, relation: relation!, columns: parsed, key, replicaIdentity };
}

function codecOf(type: string): CodecName {
  if (type === "int4" || type === "int2") return "int";
  if (type === "bool" || type === "bytea" || type === "timestamp" || type === "timestamptz")
    return type;
  return "text";
}

export function transaction(number: number): SourceTransaction {
  const commit = (number * 256).toString(16).toUpperCase().padStart(16, "0");
  const end = (number * 256 + 128).toString(16).toUpperCase().padStart(16, "0");
  return {
    id: String(1000 + number),
    commit,
    end: `${end}/00000000` as Position,
    committedAtUs: 1_700_000_000_000_000 + number * 1_000_000,
  };
}

export function change(
  kind: Operation,
  table: SourceTable,
  ordinal: number,
  before: Cells | undefined,
  after: Cells | undefined,
): RowChange {
  return { kind, table, ordinal, before, after };
}

/** Maps transactions one after the other with a fresh mapper. */
export function mapAll(
  mapping: Mapping,
  transactions: readonly (readonly Change[])[],
  intent?: Intent,
): MappedChanges {
  const mapper = new ChangeMapper(mapping, 1);
  const out = emptyOutput();
  transactions.forEach((changes, i) => mapper.map(transaction(i + 1), changes, intent, out));
  return out;
}

export function compile(
  streams: Readonly<Record<string, StreamRef>>,
  tables: readonly SourceTable[],
): Mapping {
  const mapping = compileMapping(streams, tables);
  for (const table of tables) {
    const mapper = mapping.mapperOf(table);
    if (mapper !== undefined) mapper.mappingVersion = 1;
  }
  return mapping;
}

/** What a test compares: stream, type and data of each event. */
export function told(out: MappedChanges): { stream: string; type: string; data: unknown }[] {
  return out.events.streams.map((stream, i) => ({
    stream,
    type: out.events.types[i]!,
    data: JSON.parse(out.events.data[i]!) as unknown,
  }));
}
