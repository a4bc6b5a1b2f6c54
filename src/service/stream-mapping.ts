import { compileMapping, type Mapping } from "../mapping/compile.ts";
import type { StreamRef } from "../mapping/rules.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { BanyanError } from "../model/errors.ts";
import type {
  MappingDefinition,
  RoleDefinition,
  StreamDefinition,
} from "../model/mapping-definition.ts";
import { parseQualifiedName, type SourceTable } from "../model/table.ts";
import { Folder } from "../projection/fold.ts";

/** How events of one stream type are told and folded, by the newest mapping of the store that knows it. */
export interface StreamMapping {
  readonly type: string;
  readonly version: number;
  readonly definition: StreamDefinition;
  /** The config's rules, compiled for the tables as that mapping has them. */
  readonly mapping: Mapping;
  readonly roles: ReadonlyMap<string, StreamRole>;
  readonly folder: Folder;
}

export interface StreamRole {
  readonly role: string;
  readonly isRoot: boolean;
  readonly definition: RoleDefinition;
  readonly table: SourceTable;
  readonly mapper: TableMapper;
}

/**
 * @param mappings all of the store
 * @throws BanyanError `PIPELINE_UNKNOWN` when the store has never seen the type · `MAPPING_INVALID`
 */
export function streamMapping(
  type: string,
  ref: StreamRef,
  mappings: ReadonlyMap<number, MappingDefinition>,
): StreamMapping {
  const version = newestVersion(type, mappings);
  const definition = mappings.get(version)!.streams[type]!;
  const tables = Object.values(definition.roles).map(tableOf);
  const mapping = compileMapping({ [type]: ref }, tables);
  const roles = new Map<string, StreamRole>();
  for (const [role, of] of Object.entries(definition.roles)) {
    const table = tables.find(({ name }) => name === of.table)!;
    const mapper = mapping.mapperOf(table);
    // A table that the config no longer has takes no new events.
    if (mapper === undefined) continue;
    roles.set(role, { role, isRoot: role === definition.root, definition: of, table, mapper });
  }
  const folder = new Folder(mappings, mapping.inverses());
  return { type, version, definition, mapping, roles, folder };
}

function newestVersion(type: string, mappings: ReadonlyMap<number, MappingDefinition>): number {
  const versions = [...mappings].filter(([, { streams }]) => Object.hasOwn(streams, type));
  if (versions.length === 0) {
    throw new BanyanError(
      "PIPELINE_UNKNOWN",
      `the store knows nothing of the stream type ${type}`,
      {
        hint: "Run: banyan run, until its baseline is done",
      },
    );
  }
  return Math.max(...versions.map(([version]) => version));
}

function tableOf({ table, columns, key }: RoleDefinition): SourceTable {
  const { schema, relation } = parseQualifiedName(table);
  return {
    name: table,
    schema,
    relation,
    columns: columns.map(({ name, type, codec }) => {
      return { name, type, codec, nullable: !key.includes(name) };
    }),
    key: key.map((name) => columns.findIndex((column) => column.name === name)),
    replicaIdentity: "full",
  };
}
