import fc from "fast-check";
import type { RandomSchema, RandomTable } from "./random-schema.ts";
import { cellOf } from "./random-values.ts";

/** One statement, carried out under a savepoint: what the server refuses has not happened. */
export interface Statement {
  readonly sql: string;
  readonly params: readonly (string | null)[];
  /** Rolled back although it succeeded. */
  readonly undone: boolean;
}

export interface SqlTransaction {
  readonly statements: readonly Statement[];
  readonly intent: string | undefined;
}

/** Values of columns that are marked large get so long that the server keeps them out of line. */
const LARGE_TIMES = 400;

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const nameOf = ({ shape }: RandomTable): string => `public.${quoted(shape.relation)}`;

/** Foreign keys of a random kind, or none, beside the tables. */
export function randomDdl(schema: RandomSchema): fc.Arbitrary<readonly string[]> {
  const action = fc.constantFrom("no action", "CASCADE", "SET NULL");
  return fc
    .array(fc.record({ exists: fc.boolean(), onDelete: action, onUpdate: action }), {
      minLength: 3,
      maxLength: 3,
    })
    .map((links) =>
      schema.tables.flatMap((table, i) => {
        const columns = table.shape.columns.map(
          ({ name, type, nullable }) => `${quoted(name)} ${type}${nullable ? "" : " NOT NULL"}`,
        );
        const key = table.shape.key.map((at) => quoted(table.shape.columns[at]!.name)).join(", ");
        const link = links[(i + 2) % 3]!;
        const own = Object.keys(table.parent ?? {});
        const refers = Object.values(table.parent ?? {});
        return [
          `CREATE TABLE ${nameOf(table)} (${[...columns, `PRIMARY KEY (${key})`].join(", ")})`,
          `ALTER TABLE ${nameOf(table)} REPLICA IDENTITY ${table.shape.replicaIdentity}`,
          ...table.shape.columns.flatMap(({ name }, at) =>
            isLong(table, at)
              ? [`ALTER TABLE ${nameOf(table)} ALTER ${quoted(name)} SET STORAGE EXTERNAL`]
              : [],
          ),
          ...(table.parent === undefined || !link.exists
            ? []
            : [
                `ALTER TABLE ${nameOf(table)} ADD FOREIGN KEY (${own.map(quoted).join(", ")})
                   REFERENCES ${nameOf(schema.tables[0]!)} (${refers.map(quoted).join(", ")})
                   ON DELETE ${link.onDelete} ON UPDATE ${link.onUpdate} DEFERRABLE`,
              ]),
        ];
      }),
    );
}

function isLong({ kinds, large, shape }: RandomTable, column: number): boolean {
  return large[column] === true && kinds[column] === "text" && !shape.key.includes(column);
}

export function randomTransactions(
  schema: RandomSchema,
  transactionsMax: number,
): fc.Arbitrary<readonly SqlTransaction[]> {
  const statement = fc
    .nat(schema.tables.length - 1)
    .chain((at) => randomStatement(schema, schema.tables[at]!));
  return fc.array(
    fc.record({
      statements: fc.array(statement, { minLength: 1, maxLength: 6 }),
      intent: fc.option(fc.constantFrom('{"actor":"anna"}', "no JSON"), { nil: undefined }),
    }),
    { maxLength: transactionsMax },
  );
}

function randomStatement(schema: RandomSchema, table: RandomTable): fc.Arbitrary<Statement> {
  const { columns, key } = table.shape;
  const cells = fc.tuple(...columns.map(({ nullable }, i) => cell(table, i, nullable)));
  const undone = fc.integer({ min: 0, max: 7 }).map((n) => n === 0);
  const all = columns.map(({ name }) => quoted(name));
  const names = (at: readonly number[]): string => at.map((i) => all[i]!).join(", ");
  const places = columns.map(({ type }, i) => `$${i + 1}::${type}`);
  const others = columns.map((_, i) => i).filter((i) => !key.includes(i));
  const insert = `INSERT INTO ${nameOf(table)} (${all.join(", ")}) VALUES (${places.join(", ")})`;
  const some = (offset: number, limit: number): string =>
    `ctid IN (SELECT ctid FROM ${nameOf(table)} ORDER BY ${names(key)} OFFSET ${offset} LIMIT ${limit})`;
  const using = (sql: string): fc.Arbitrary<Statement> =>
    fc.record({ sql: fc.constant(sql), params: cells, undone });
  const plain = (sql: string): fc.Arbitrary<Statement> =>
    fc.record({ sql: fc.constant(sql), params: fc.constant([]), undone });
  const setting = (at: readonly number[]): string =>
    `(${names(at)}) = ROW(${at.map((i) => places[i]!).join(", ")})`;
  // Parameters that a statement does not use would have no type.
  const typed = `EXISTS (SELECT ${places.join(", ")})`;

  const rows = fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 3 }));
  const kinds: fc.Arbitrary<Statement>[] = [
    using(insert),
    using(`${insert} ON CONFLICT DO NOTHING`),
    rows.chain((where) => plain(`DELETE FROM ${nameOf(table)} WHERE ${some(...where)}`)),
    rows.chain(([offset]) =>
      using(`UPDATE ${nameOf(table)} SET ${setting(key)} WHERE ${typed} AND ${some(offset, 1)}`),
    ),
  ];
  if (others.length > 0) {
    kinds.push(
      using(`${insert} ON CONFLICT (${names(key)}) DO UPDATE SET ${setting(others)}`),
      fc.tuple(fc.shuffledSubarray(others, { minLength: 1 }), rows).chain(([at, where]) => {
        return using(
          `UPDATE ${nameOf(table)} SET ${setting(at)} WHERE ${typed} AND ${some(...where)}`,
        );
      }),
      plain(
        `UPDATE ${nameOf(table)} SET ${names(others.slice(0, 1))} = ${names(others.slice(0, 1))}`,
      ),
    );
  }
  if (table.parent !== undefined) {
    const root = schema.tables[0]!;
    const own = Object.keys(table.parent).map(quoted).join(", ");
    const keys = Object.values(table.parent).map(quoted).join(", ");
    kinds.push(
      fc.tuple(rows, fc.nat(3)).chain(([where, parent]) =>
        plain(
          `UPDATE ${nameOf(table)} SET (${own}) = (SELECT ${keys} FROM ${nameOf(root)} ORDER BY ${keys} OFFSET ${parent} LIMIT 1)
            WHERE ${some(...where)}`,
        ),
      ),
    );
  }
  return fc.oneof(...kinds);
}

function cell(table: RandomTable, column: number, nullable: boolean): fc.Arbitrary<string | null> {
  const value = cellOf(table.kinds[column]!).map((text) =>
    isLong(table, column) ? `${text}.`.repeat(LARGE_TIMES * 5) : text,
  );
  return nullable
    ? fc.oneof({ weight: 3, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) })
    : value;
}
