import type { Finding } from "../../src/source/change-source.ts";
import type { CatalogueEntry } from "./catalogue.ts";
import { isCapturable } from "./check-tables.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";
import type { Publication, PublishedTable } from "./publication.ts";

const OPERATIONS = ["insert", "update", "delete", "truncate"] as const;

/** Whether the publication sends every change of every planned table, whole and under the table's own name. */
export function* checkPublication(
  name: string,
  publication: Publication | undefined,
  entries: readonly CatalogueEntry[],
): Generator<Finding> {
  const capturable = entries.filter(isCapturable);
  const partitioned = capturable.some(({ kind }) => kind === "p");
  const quoted = quoteIdentifier(name);
  if (publication === undefined) {
    const tables = capturable.map(({ table }) => quoteTable(table)).join(", ");
    const options = partitioned ? " WITH (publish_via_partition_root = true)" : "";
    const mend =
      capturable.length === 0
        ? {}
        : { mend: `CREATE PUBLICATION ${quoted} FOR TABLE ${tables}${options};` };
    yield {
      severity: "error",
      code: "publication-missing",
      message: `publication ${name} does not exist`,
      ...mend,
    };
    return;
  }
  if (publication.allTables) {
    yield {
      severity: "warning",
      code: "publication-all-tables",
      message: `publication ${name} is FOR ALL TABLES: everything is sent and most of it thrown away; better name the tables`,
    };
  }
  const silent = OPERATIONS.filter((operation) => !publication[operation]);
  if (silent.length > 0) {
    yield {
      severity: "error",
      code: "publication-operations",
      message: `publication ${name} leaves out ${silent.join(", ")}`,
      mend: `ALTER PUBLICATION ${quoted} SET (publish = '${OPERATIONS.join(", ")}');`,
    };
  }
  if (partitioned && !publication.viaRoot) {
    yield {
      severity: "error",
      code: "publication-partition-root",
      message: `publication ${name} sends changes of partitions under the partitions' names instead of the table's`,
      mend: `ALTER PUBLICATION ${quoted} SET (publish_via_partition_root = true);`,
    };
  }
  for (const entry of capturable) yield* checkMember(name, publication, entry);
}

function* checkMember(
  name: string,
  publication: Publication,
  entry: CatalogueEntry,
): Generator<Finding> {
  const { table } = entry;
  const alter = `ALTER PUBLICATION ${quoteIdentifier(name)}`;
  // Without publish_via_partition_root the server lists the leaves in place of the table.
  const members = publication.tables.filter(
    (published) => isSame(published, table) || entry.leaves.some((leaf) => isSame(published, leaf)),
  );
  if (members.length === 0) {
    yield {
      severity: "error",
      code: "publication-lacks-table",
      table: table.name,
      message: `publication ${name} does not have ${table.name}`,
      mend: `${alter} ADD TABLE ${quoteTable(table)};`,
    };
  }
  const narrowed = members.filter(({ filtered, columnList }) => filtered || columnList);
  if (narrowed.length > 0) {
    const filtered = narrowed.some((member) => member.filtered);
    yield {
      severity: "error",
      code: filtered ? "publication-row-filter" : "publication-column-list",
      table: table.name,
      message: `publication ${name} sends only some ${filtered ? "rows" : "columns"} of ${table.name}`,
      mend: `${alter} DROP TABLE ${quoteTable(table)}; ${alter} ADD TABLE ${quoteTable(table)};`,
    };
  }
}

function isSame(
  a: Pick<PublishedTable, "schema" | "relation">,
  b: { readonly schema: string; readonly relation: string },
): boolean {
  return a.schema === b.schema && a.relation === b.relation;
}
