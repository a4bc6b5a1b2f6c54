import { nounOf, type TableName } from "./table-names.ts";
import { jsonValueOf } from "./column-values.ts";
import { comment, literal, oneLine, propertyName } from "./typescript-text.ts";
import { UniqueNames } from "./unique-names.ts";
import { pascalCase } from "./happening.ts";
import { latinWords } from "../assess/identifier-words.ts";
import { keyOf } from "../assess/row-key.ts";
import { parseQualifiedName, type SourceColumn } from "../model/table.ts";
import type { ColumnFacts, DatabaseFacts, TableFacts } from "../source/database-facts.ts";

const WIDTH = 100;

/** Text of `banyan.tables.ts`: the type of each table's rows as events hold them. */
export function writeTables(facts: DatabaseFacts, names: ReadonlyMap<string, TableName>): string {
  const enums = new EnumTypes([...names.values()].map(({ row }) => row));
  const tables = facts.tables.map((table) => tableText(table, names.get(table.table.name)!, enums));
  const header = [
    comment(
      `Row types of ${facts.tables.length === 1 ? "the table" : `all ${facts.tables.length} tables`} of the database ${facts.database}, written by banyan draft.`,
      0,
    ),
    comment(
      "Each column has the form that it has in events: text for what JSON numbers would not hold exactly (bigint, numeric, json, arrays), ISO 8601 for times, base64 for bytes. See docs/3-mapping.md.",
      0,
    ),
  ];
  return [
    [...header, `import { table } from "banyan";`].join("\n"),
    ...enums.declarations(),
    ...tables,
  ].join("\n\n");
}

function tableText(facts: TableFacts, { constant, row }: TableName, enums: EnumTypes): string {
  const { table } = facts;
  const described = new Map(facts.columns.map((column) => [column.name, column]));
  const lines = table.columns.map((column) => {
    const note = described.get(column.name)?.comment;
    const said = note === undefined ? "" : `${docComment(note, 2)}\n`;
    const type = columnType(column, described.get(column.name), enums, table.relation);
    return `${said}  ${propertyName(column.name)}: ${type};`;
  });
  const members = lines.length === 0 ? "{}" : `{\n${lines.join("\n")}\n}`;
  const about = [
    `${table.name}${facts.kind === "table" ? "" : ` (${facts.kind})`}.`,
    ...(facts.comment === undefined ? [] : [facts.comment]),
    ...(facts.generatedLeftOut.length === 0
      ? []
      : [`Generated, and not in the log: ${facts.generatedLeftOut.join(", ")}.`]),
  ];
  return `${docComment(about.join(" "), 0)}\nexport interface ${row} ${members}\n${tableCall(facts, constant, row)}`;
}

/** A table without primary key names its key here, so that every mapping of it has the same. */
function tableCall(facts: TableFacts, constant: string, row: string): string {
  const { table, primaryKey } = facts;
  const { schema, relation } = parseQualifiedName(table.name);
  const isShort = schema === "public" && !relation.includes(".");
  const key = primaryKey.length > 0 ? [] : keyOf(facts);
  const options = key.length === 0 ? "" : `, { key: [${key.map(literal).join(", ")}] }`;
  return `export const ${constant} = table<${row}>(${literal(isShort ? relation : table.name)}${options});`;
}

function docComment(text: string, indent: number): string {
  return `${" ".repeat(indent)}/** ${oneLine(text)} */`;
}

function columnType(
  column: SourceColumn,
  facts: ColumnFacts | undefined,
  enums: EnumTypes,
  relation: string,
): string {
  const union = unionOf(column, facts?.allowed);
  const type = union === undefined ? plainType(column) : enums.nameOf(column, union, relation);
  return column.nullable ? `${type} | null` : type;
}

function plainType({ codec }: SourceColumn): string {
  switch (codec) {
    case "int":
      return "number";
    case "bool":
      return "boolean";
    case "text":
    case "bytea":
    case "timestamp":
    case "timestamptz":
      return "string";
  }
}

/** The values that a column may have, where the database declares them and each is certain. */
function unionOf(
  { codec, type }: SourceColumn,
  allowed: readonly string[] | undefined,
): readonly string[] | undefined {
  if (allowed === undefined || allowed.length === 0) return undefined;
  const values = allowed.map((value) => jsonValueOf(codec, type, value));
  if (values.some((value) => value === undefined || typeof value === "boolean")) return undefined;
  return [...new Set(values.map((value) => literal(value!)))];
}

/** Types of the database that list values get a name of their own; a CHECK constraint stays in its place. */
class EnumTypes {
  readonly #names: UniqueNames;
  readonly #known = new Map<
    string,
    { readonly name: string; readonly union: readonly string[]; readonly of: string }
  >();

  constructor(taken: Iterable<string>) {
    this.#names = new UniqueNames(taken);
  }

  nameOf({ type }: SourceColumn, union: readonly string[], relation: string): string {
    const at = type.indexOf(".");
    if (at < 0) return union.join(" | ");
    const key = [type, ...union].join("\0");
    const known = this.#known.get(key);
    if (known !== undefined) return known.name;
    const words = latinWords(type.slice(at + 1));
    const text = words.length === 0 ? `${nounOf(relation)}Value` : pascalCase(words);
    const plain = /^[A-Za-z]/.test(text) ? text : `Type${text}`;
    const schema = pascalCase(latinWords(type.slice(0, at)));
    const name = this.#names.claim(plain, /^[A-Za-z]/.test(schema) ? `${schema}${plain}` : plain);
    this.#known.set(key, { name, union, of: type });
    return name;
  }

  declarations(): readonly string[] {
    return [...this.#known.values()].map(
      ({ name, union, of }) => `/** ${oneLine(of)} */\n${unionText(name, union)}`,
    );
  }
}

function unionText(name: string, union: readonly string[]): string {
  const line = `export type ${name} = ${union.join(" | ")};`;
  return line.length <= WIDTH
    ? line
    : `export type ${name} =\n${union.map((value) => `  | ${value}`).join("\n")};`;
}
