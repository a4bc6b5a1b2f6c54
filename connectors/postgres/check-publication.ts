import { BanyanError } from "../../src/model/errors.ts";
import type { Finding } from "../../src/source/change-source.ts";
import { readTables, requireAll, type Ask, type CatalogueEntry } from "./catalogue.ts";
import { isCapturable } from "./check-tables.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";
import { publicationMissing, readPublication } from "./publication.ts";
import type { Publication, PublishedTable } from "./publication.ts";

const OPERATIONS = ["insert", "update", "delete", "truncate"] as const;
/** Where the event store keeps its tables; every commit of the capture writes one of them. */
const STORE_SCHEMA = "banyan";

/**
 * Refuses a publication that would leave something out: what it does not send is lost without a word.
 *
 * @param more to say beside the SQL that mends it
 * @throws BanyanError `PUBLICATION_MISSING`, `TABLE_MISSING` for a table that is gone by now,
 *   `SOURCE_NOT_READY` naming all that it lacks
 */
export async function requirePublished(
  ask: Ask,
  name: string,
  entries: readonly CatalogueEntry[],
  more = "",
): Promise<void> {
  const publication = await readPublication(ask, name);
  if (publication === undefined) throw publicationMissing(name);
  const errors = [...checkPublication(name, publication, entries)].filter(
    ({ severity }) => severity === "error",
  );
  if (errors.length === 0) return;
  // One that was renamed or dropped just now is not in the publication either, and that is the reason.
  const names = entries.map(({ table }) => table.name);
  requireAll(names, await readTables(ask, names, name, new Map()));
  const mends = errors.flatMap(({ mend }) => mend ?? []);
  throw new BanyanError("SOURCE_NOT_READY", errors.map(({ message }) => message).join("; "), {
    hint:
      mends.length === 0 ? "Then run: banyan check" : `Run: ${mends.join(" ")} ${more}`.trimEnd(),
    detail: { publication: name, findings: errors.map(({ code }) => code).join(",") },
  });
}

/** Whether the publication sends every change of every planned table, whole and under the table's own name. */
export function* checkPublication(
  name: string,
  publication: Publication | undefined,
  entries: readonly CatalogueEntry[],
): Generator<Finding> {
  const capturable = entries.filter(isCapturable);
  const shared = [...sharedPartitions(capturable)];
  yield* shared.map(({ finding }) => finding);
  const partitioned = capturable.some(({ kind }) => kind === "p");
  const quoted = quoteIdentifier(name);
  const create = createPublication(quoted, capturable);
  if (publication === undefined) {
    yield {
      severity: "error",
      code: "publication-missing",
      message: `publication ${name} does not exist`,
      ...(capturable.length === 0 ? {} : { mend: create }),
    };
    return;
  }
  if (publication.tables.some(({ schema }) => schema === STORE_SCHEMA)) {
    yield {
      severity: "error",
      code: "publication-has-store",
      message: `publication ${name} has Banyan's own tables: each commit of the capture would be captured again, without end`,
      mend: `BEGIN; DROP PUBLICATION ${quoted}; ${create} COMMIT;`,
    };
  } else if (publication.allTables) {
    yield {
      severity: "warning",
      code: "publication-all-tables",
      message: `publication ${name} is FOR ALL TABLES: everything is sent and most of it thrown away; better name the tables`,
      mend: `BEGIN; DROP PUBLICATION ${quoted}; ${create} COMMIT;`,
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
  const ofShared = new Set(shared.flatMap(({ entries: both }) => both));
  for (const entry of capturable)
    if (!ofShared.has(entry)) yield* checkMember(name, publication, entry);
}

/**
 * Whether the publication sends the generated columns that name rows: if not, it is the application
 * whose changes fail. To be mended before a replica identity is made FULL, which would begin it.
 */
export function* checkGenerated(
  name: string,
  publication: Publication | undefined,
  entries: readonly CatalogueEntry[],
): Generator<Finding> {
  const unsent = entries.filter((entry) => isCapturable(entry) && storedUnsent(entry).length > 0);
  if (publication === undefined || unsent.length === 0) return;
  const which = unsent.map((entry) => `${entry.table.name} (${storedUnsent(entry).join(", ")})`);
  yield {
    severity: "error",
    code: "publication-generated",
    message: `publication ${name} does not send generated columns, and the application's own UPDATE and DELETE fail where they are part of the replica identity: ${which.join("; ")}`,
    mend: `ALTER PUBLICATION ${quoteIdentifier(name)} SET (publish_generated_columns = stored);`,
  };
}

function createPublication(quoted: string, capturable: readonly CatalogueEntry[]): string {
  const tables = capturable.map(({ table }) => quoteTable(table)).join(", ");
  const options = [
    ...(capturable.some(({ kind }) => kind === "p") ? ["publish_via_partition_root = true"] : []),
    ...(capturable.some((entry) => storedUnsent(entry).length > 0)
      ? ["publish_generated_columns = stored"]
      : []),
  ];
  const having = options.length === 0 ? "" : ` WITH (${options.join(", ")})`;
  return `CREATE PUBLICATION ${quoted} FOR TABLE ${tables}${having};`;
}

/** Generated columns that a publication has to send; of virtual ones the table's own findings tell. */
function storedUnsent({ leaves, virtualColumns }: CatalogueEntry): readonly string[] {
  const isVirtual = (column: string): boolean => virtualColumns.includes(column);
  const unsent = leaves.flatMap(({ identityUnsent: columns }) =>
    columns.some(isVirtual) ? [] : columns,
  );
  return [...new Set(unsent)];
}

/** The log tells a partition's changes under one name only: the other table would never have any. */
function* sharedPartitions(
  entries: readonly CatalogueEntry[],
): Generator<{ readonly finding: Finding; readonly entries: readonly CatalogueEntry[] }> {
  for (const [at, entry] of entries.entries()) {
    for (const other of entries.slice(at + 1)) {
      if (entry.kind !== "p" && other.kind !== "p") continue;
      if (!entry.leaves.some((leaf) => other.leaves.some((one) => isSame(leaf, one)))) continue;
      const finding: Finding = {
        severity: "error",
        code: "partition-shared",
        table: other.table.name,
        message: `${entry.table.name} and ${other.table.name} have rows in common, one being a partition of the other, and the log tells their changes under one of the names only: take one of the two out of the config`,
      };
      yield { finding, entries: [entry, other] };
    }
  }
}

function* checkMember(
  name: string,
  publication: Publication,
  entry: CatalogueEntry,
): Generator<Finding> {
  const { table } = entry;
  const alter = `ALTER PUBLICATION ${quoteIdentifier(name)}`;
  const members = publication.tables.filter(
    (published) => isSame(published, table) || entry.leaves.some((leaf) => isSame(published, leaf)),
  );
  if (!hasTable(publication, entry)) {
    // One of all tables is made anew by its own finding.
    const mend = publication.allTables ? {} : { mend: `${alter} ADD TABLE ${quoteTable(table)};` };
    yield {
      severity: "error",
      code: "publication-lacks-table",
      table: table.name,
      message: `publication ${name} does not have ${table.name}`,
      ...mend,
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
      mend: narrowed
        .map(
          (member) =>
            `${alter} DROP TABLE ${quoteTable(member)}; ${alter} ADD TABLE ${quoteTable(member)};`,
        )
        .join(" "),
    };
  }
}

/**
 * Whether the table itself is a member. Some of its partitions do not make it one, nor do all of them,
 * because one made later would not be; without publish_via_partition_root only the definition tells.
 */
function hasTable(publication: Publication, { table, kind }: CatalogueEntry): boolean {
  const { allTables, viaRoot, tables, named } = publication;
  if (kind === "p" && !viaRoot) return allTables || named.some((member) => isSame(member, table));
  return tables.some((published) => isSame(published, table));
}

function isSame(
  a: Pick<PublishedTable, "schema" | "relation">,
  b: { readonly schema: string; readonly relation: string },
): boolean {
  return a.schema === b.schema && a.relation === b.relation;
}
