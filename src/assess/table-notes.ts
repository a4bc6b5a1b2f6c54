import type { Blocker, Note } from "./assessment.ts";
import type { ColumnReading } from "./column-roles.ts";
import { anyTableReference, type Reference } from "./references.ts";
import type { SampledTable, TableFacts } from "../source/database-facts.ts";

/** Rows whose values take more than this on average make large events. */
const LARGE_BYTES = 8_192;

/** What to know of a table before its history is kept. */
export function* tableNotes(
  facts: TableFacts,
  readings: readonly ColumnReading[],
  references: readonly Reference[],
  sampled: SampledTable | undefined,
): Generator<Note> {
  const note = (code: string, text: string): Note => ({ code, text });
  const columnsOf = (role: ColumnReading["role"]): string[] =>
    readings.filter((reading) => reading.role === role).map(({ column }) => column);
  const { table, columns, rows } = facts;
  const outOfLine = columns.filter(({ mayBeOutOfLine }) => mayBeOutOfLine);
  if (facts.outOfLineBytes > 0 && outOfLine.length > 0 && table.replicaIdentity !== "full") {
    yield note(
      "out-of-line",
      `values of ${list(outOfLine.map(({ name }) => name))} may stand out of line (TOAST): an update that leaves them alone does not repeat them in the log, so an image of each row is kept beside the events`,
    );
  }
  if (rows !== undefined && rows > 0 && facts.bytes / rows > LARGE_BYTES)
    yield note(
      "large-rows",
      `rows of ${Math.round(facts.bytes / rows / 1024)} KB on average make large events`,
    );
  const types = typeNotes(facts, readings);
  if (types.length > 0) yield note("types", types.join("; "));
  if (facts.generatedLeftOut.length > 0)
    yield note(
      "generated-left-out",
      `generated columns are not in the log and are left out: ${list(facts.generatedLeftOut)}`,
    );
  if (facts.partitions.length > 0)
    yield note("partitioned", `${facts.partitions.length} partitions, captured as one table`);
  if (facts.inherits.length > 0)
    yield note(
      "inherits",
      `inherits from ${list(facts.inherits)}: a query there shows these rows too, a capture tells them apart`,
    );
  if (facts.triggers.length > 0)
    yield note(
      "triggers",
      `triggers (${list(facts.triggers)}) change rows behind the application: the events tell their outcome, not who caused it`,
    );
  if (facts.rowSecurity)
    yield note("row-security", "row-level security: the role that captures needs BYPASSRLS");
  const personal = columnsOf("personal");
  if (personal.length > 0)
    yield note(
      "personal",
      `personal data (${list(personal)}): history keeps what a row would have lost, so decide on erasure first`,
    );
  const secret = columnsOf("secret");
  if (secret.length > 0)
    yield note("secrets", `secrets (${list(secret)}) would stay in the history`);
  const deleted = columnsOf("soft-delete");
  if (deleted.length > 0)
    yield note("soft-delete", `${list(deleted)} marks rows as gone: an event that says so`);
  const any = anyTableReference(facts);
  if (any !== undefined)
    yield note(
      "any-table",
      `${any} refer to rows of any table: the database cannot say to which aggregate a row belongs`,
    );
  const unenforced = references.filter(
    (reference) => reference.table === table.name && !reference.enforced,
  );
  if (unenforced.length > 0)
    yield note(
      "no-foreign-key",
      `no foreign key holds ${list(unenforced.map(({ columns: own, references: to }) => `${own.join(", ")} to ${to}`))}: rows may refer to nothing`,
    );
  if ((sampled?.truncated ?? 0) > 0)
    yield note(
      "truncated",
      `${sampled!.truncated} TRUNCATE in the sample: a capture stops at one unless the stream says truncate: "events"`,
    );
}

function typeNotes({ columns, table }: TableFacts, readings: readonly ColumnReading[]): string[] {
  const notes: string[] = [];
  const named = (test: (type: string) => boolean): string[] =>
    columns.filter(({ type }) => test(type.replace(/\(.*\)/, ""))).map(({ name }) => name);
  const say = (names: readonly string[], text: string): void => {
    if (names.length > 0) notes.push(`${list(names)}: ${text}`);
  };
  say(
    named((type) => type === "oid" || type.endsWith(".lo")),
    "large objects are not in the log, only their numbers",
  );
  say(
    named((type) => type === "money"),
    "type money prints in the server's own currency format; numeric is safer",
  );
  say(
    readings
      .filter(({ role }) => role === "money")
      .map(({ column }) => column)
      .filter((name) => columns.find((column) => column.name === name)?.type.startsWith("float")),
    "money in a float, kept as it is stored",
  );
  say(
    readings
      .filter(({ role }) => role === "changed-at")
      .map(({ column }) => column)
      .filter(
        (name) =>
          columns.find((column) => column.name === name)?.type.startsWith("timestamp") &&
          !columns.find((column) => column.name === name)!.type.startsWith("timestamptz"),
      ),
    "a time without zone, read as UTC when used as valid time",
  );
  say(
    named((type) => type === "tsvector"),
    "derived from other columns, yet part of every event about them",
  );
  say(
    named((type) => /(^|\.)(geometry|geography|vector|ltree|hstore|cube)$/.test(type)),
    "types of an extension are kept as their text",
  );
  say(
    table.columns.filter(({ name }) => name.startsWith("$")).map(({ name }) => name),
    "a name that begins with $ is refused by a mapping",
  );
  return notes;
}

/** What keeps changes of a table out of the log, or would make the application's own writes fail. */
export function tableBlockers(facts: TableFacts): readonly Blocker[] {
  const { table, primaryKey, uniqueKeys, identityMend, keyMend } = facts;
  if (facts.kind === "foreign" || facts.kind === "unlogged") return [];
  const blocker = (code: string, text: string, sql: string | undefined): Blocker => ({
    table: table.name,
    severity: "error",
    code,
    text,
    ...(sql === undefined ? {} : { sql }),
  });
  if (primaryKey.length === 0 && uniqueKeys.length === 0) {
    return [
      blocker(
        "key-missing",
        "no key: nothing tells its rows apart. The SQL adds one, which rewrites the table under an exclusive lock; where columns identify a row already, a unique index on them (NOT NULL) does without",
        keyMend,
      ),
    ];
  }
  if (table.keyUniqueness === "at-commit") {
    return [
      blocker(
        "key-deferrable",
        `its key (${primaryKey.join(", ")}) is DEFERRABLE: two rows may have one key within a transaction, and the log does not tell them apart. The SQL makes it anew, under an exclusive lock`,
        keyMend,
      ),
    ];
  }
  if (identityMend === undefined) return [];
  return [
    blocker(
      "replica-identity",
      primaryKey.length === 0
        ? `no primary key: once it is published, the application's own UPDATE and DELETE fail. The SQL lets the log name rows by (${uniqueKeys[0]!.join(", ")}), which the config then names as key`
        : "no usable replica identity: once it is published, the application's own UPDATE and DELETE fail, or do not tell which row they meant",
      identityMend,
    ),
  ];
}

export function list(names: readonly string[], max = 4): string {
  return names.length <= max
    ? names.join(", ")
    : `${names.slice(0, max).join(", ")} and ${names.length - max} more`;
}
