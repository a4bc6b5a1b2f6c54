import { wordsOf } from "./identifier-words.ts";
import { looksLikeStates } from "./state-words.ts";
import type { ColumnFacts, SampledTable, TableFacts } from "../source/database-facts.ts";

/** What a column is for, as far as its name, type and values tell. */
export type ColumnRole =
  /** Moves from one of a few values to another. */
  | "state"
  /** One of a few values that stay. */
  | "category"
  | "flag"
  | "soft-delete"
  | "money"
  | "personal"
  | "secret"
  /** When the row was last changed: usable as valid time. */
  | "changed-at"
  | "created-at"
  /** When something happened in the business. */
  | "happened-at"
  /** Optimistic locking. */
  | "version"
  /** Who changed the row. */
  | "actor"
  /** Counts something kept elsewhere. */
  | "counter"
  | "document"
  | "binary";

export interface ColumnReading {
  readonly column: string;
  readonly role: ColumnRole;
  /** e.g. `5 values`, `by its name`; completes "looks like … because". */
  readonly why: string;
  /** Of a state, category or flag: its values, most common first or in their declared order. */
  readonly values?: readonly string[];
}

/**
 * Reads the roles of a table's columns. A column may have several (a flag that marks deleted rows) or
 * none. Columns of the key and of foreign keys have none: they tell which row is meant.
 *
 * @param references columns that refer to other tables
 */
export function columnRoles(
  facts: TableFacts,
  references: ReadonlySet<string>,
  sampled?: SampledTable,
): readonly ColumnReading[] {
  const table = wordsOf(facts.table.relation);
  const isPerson = table.some((word) => PEOPLE.has(word));
  const isAddress = facts.columns.some(({ name }) => /city|town|zip|postal|street/i.test(name));
  return facts.columns
    .filter(({ name }) => !facts.primaryKey.includes(name) && !references.has(name))
    .flatMap((column) => {
      const subject = { column, words: wordsOf(column.name), kind: kindOf(column.type), isPerson };
      const moved = (sampled?.transitions.get(column.name)?.size ?? 0) > 0;
      const personal = personalOf(subject);
      return [
        // Values of a person are never shown, so they are never read as states.
        personal === undefined ? stateOf(subject, facts.rows, moved, isAddress) : undefined,
        flagOf(subject),
        moneyOf(subject),
        personal,
        timeOf(subject),
        bookkeepingOf(subject),
        contentOf(subject),
      ].flatMap((reading) => (reading === undefined ? [] : [{ column: column.name, ...reading }]));
    });
}

type Kind =
  | "text"
  | "whole"
  | "decimal"
  | "money"
  | "bool"
  | "time"
  | "document"
  | "binary"
  | "address"
  | "other";

interface Subject {
  readonly column: ColumnFacts;
  readonly words: readonly string[];
  readonly kind: Kind;
  readonly isPerson: boolean;
}

type Reading = Omit<ColumnReading, "column"> | undefined;

function kindOf(type: string): Kind {
  const bare = type.replace(/\(.*\)/, "");
  if (/^(text|varchar|bpchar|char|name|.*\.?citext)$/.test(bare)) return "text";
  if (/^int[248]$/.test(bare)) return "whole";
  if (/^(numeric|float[48])$/.test(bare)) return "decimal";
  if (bare === "money") return "money";
  if (bare === "bool") return "bool";
  if (/^(date|timestamp|timestamptz)$/.test(bare)) return "time";
  if (/^(json|jsonb|xml|.*\.?hstore)$/.test(bare)) return "document";
  if (/^(bytea|oid|.*\.?lo)$/.test(bare)) return "binary";
  if (/^(inet|cidr|macaddr8?)$/.test(bare)) return "address";
  return "other";
}

const STATE = words("status state stage phase lifecycle workflow zustand statut estado etat stato");
const CATEGORY = words(
  "type kind category class method currency country language locale unit gender sex role plan priority source channel " +
    "carrier color colour size rating group tier region zone model brand timezone format mime art",
);
/** Beyond this a column of few values has no states. */
const VALUES_MAX = 20;
const ROWS_MIN = 100;

function stateOf(
  { column, words: name, kind }: Subject,
  rows: number | undefined,
  moved: boolean,
  isAddress: boolean,
): Reading {
  const { allowed, distinct, common } = column;
  const declared = allowed !== undefined && allowed.length >= 2 && allowed.length <= VALUES_MAX;
  if (kind !== "text" && kind !== "whole" && !declared) return undefined;
  const hinted = has(name, STATE) && !(isAddress && name.at(-1) === "state" && !declared);
  const few =
    distinct !== undefined && distinct >= 1 && distinct <= VALUES_MAX && (rows ?? 0) >= ROWS_MIN;
  const values = declared ? allowed : common.map(({ value }) => value);
  const counted = declared
    ? `${allowed.length} declared values`
    : distinct === undefined
      ? "by its name; never analysed"
      : `${Math.round(distinct)} ${Math.round(distinct) === 1 ? "value" : "values"}`;
  if (hinted && (declared || distinct === undefined || distinct <= VALUES_MAX)) {
    return { role: "state", why: declared || few ? counted : "by its name", values };
  }
  if (!declared && !few) return undefined;
  if (moved && !has(name, CATEGORY) && (declared || few))
    return { role: "state", why: `${counted}, seen to change`, values };
  if (values.length >= 2 && !has(name, CATEGORY) && looksLikeStates(values))
    return { role: "state", why: counted, values };
  return declared || (kind === "text" && distinct! >= 2)
    ? { role: "category", why: counted, values }
    : undefined;
}

const DELETED = words(
  "deleted removed archived trashed discarded voided geloescht supprime eliminado",
);
const FLAG = words(
  "is has active inactive enabled disabled blocked locked published visible paid confirmed approved suspended closed",
);

function flagOf({ column, words: name, kind }: Subject): Reading {
  const twoValued = kind === "bool" || (column.distinct !== undefined && column.distinct <= 2);
  if (has(name, DELETED) && (twoValued || kind === "time" || kind === "text" || kind === "whole"))
    return { role: "soft-delete", why: "by its name" };
  if (kind === "bool") return { role: "flag", why: "true or false" };
  if ((kind === "whole" || kind === "text") && twoValued && has(name, FLAG))
    return { role: "flag", why: "two values at most" };
  return undefined;
}

const MONEY = words(
  "amount price cost total subtotal fee balance tax vat discount salary wage credit debit revenue budget charge cents " +
    "refund refunded deposit net gross premium turnover betrag preis summe saldo kosten montant prix importe precio",
);
const COUNTED = words(
  "count quantity qty number no id points days hours minutes weight rows size percent pct rate seats pages score rank",
);

function moneyOf({ column, words: name, kind }: Subject): Reading {
  if (kind === "money") return { role: "money", why: "by its type" };
  if (kind !== "decimal" && kind !== "whole") return undefined;
  if (!has(name, MONEY) || has(name, COUNTED)) return undefined;
  // numeric(5,4) holds a share, not a sum.
  const [, precision, scale] = /^numeric\((\d+),(\d+)\)$/.exec(column.type) ?? [];
  if (precision !== undefined && Number(precision) - Number(scale) <= 1) return undefined;
  return {
    role: "money",
    why: column.type.startsWith("float") ? "by its name; a float, which rounds" : "by its name",
  };
}

const PEOPLE = words(
  "customer customers person persons people user users employee employees staff patient patients contact contacts member members " +
    "student students guest guests passenger passengers author authors lead leads applicant applicants driver drivers subscriber subscribers " +
    "actor actors kunde kunden mitarbeiter",
);
const PERSONAL = words(
  "email mail phone telephone mobile fax surname forename firstname lastname fullname birth birthday birthdate dob ssn passport iban " +
    "street address zip postcode gender sex nationality username login strasse telefon geburtsdatum vorname nachname adresse",
);
const BORN = words("birth birthday birthdate dob geburtsdatum");
const ORGANISATION = words("company business firm organisation organization firma");
const NAMED = words("first last full given family middle maiden display contact");
const SECRET = words("password passwd pwd secret token salt otp apikey privatekey");

function personalOf({ column, words: name, kind, isPerson }: Subject): Reading {
  const textual = kind === "text" || kind === "document" || kind === "other";
  if (kind !== "time" && kind !== "bool" && has(name, SECRET) && !has(name, COUNTED))
    return { role: "secret", why: "by its name" };
  if (kind === "address") return { role: "personal", why: "a network address" };
  if (kind === "time")
    return has(name, BORN) ? { role: "personal", why: "by its name" } : undefined;
  if (!textual || column.allowed !== undefined) return undefined;
  const named =
    name.includes("name") &&
    !has(name, ORGANISATION) &&
    (name.some((word) => NAMED.has(word)) || isPerson);
  const postal = name.includes("postal") || (name.includes("credit") && name.includes("card"));
  return has(name, PERSONAL) || named || postal
    ? { role: "personal", why: "by its name" }
    : undefined;
}

const CHANGED = words(
  "updated modified changed edited update modification geaendert aenderung aktualisiert mtime mutation",
);
const CREATED = words(
  "created inserted added registered creation create ctime angelegt erstellt entered joined",
);
const PLANNED = words(
  "due expire expires expired expiry valid until scheduled planned next run birth start end begin from to expected deadline dob birthday birthdate last",
);

function timeOf({ words: name, kind }: Subject): Reading {
  if (kind !== "time") return undefined;
  if (has(name, CHANGED)) return { role: "changed-at", why: "by its name" };
  if (has(name, CREATED)) return { role: "created-at", why: "by its name" };
  if (has(name, PLANNED) || has(name, DELETED)) return undefined;
  return { role: "happened-at", why: "a time" };
}

function bookkeepingOf({ column, words: name, kind }: Subject): Reading {
  if (
    kind === "whole" &&
    (name.includes("version") || name.includes("revision") || name.join("") === "rowversion")
  )
    return { role: "version", why: "by its name" };
  if (kind === "whole" && has(name, words("count counter hits views visits")))
    return { role: "counter", why: "by its name" };
  const by =
    name.at(-1) === "by" &&
    has(name, words("changed updated modified created edited deleted approved"));
  if (by || column.name === "whodunnit") return { role: "actor", why: "by its name" };
  return undefined;
}

function contentOf({ column, kind }: Subject): Reading {
  if (kind === "document") return { role: "document", why: column.type };
  if (kind === "binary") return { role: "binary", why: column.type };
  return undefined;
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(" "));
}

function has(name: readonly string[], known: ReadonlySet<string>): boolean {
  return name.some((word) => known.has(word));
}
