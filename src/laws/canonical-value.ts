import type { Cell } from "../model/cell.ts";
import type { SourceColumn } from "../model/table.ts";
import { isWholeNumber } from "../model/whole-number.ts";

/** What is known of the values of one column beside its type. */
export interface ColumnDomain {
  /** All that it can hold beside NULL; undefined when that is not listed anywhere. */
  readonly allowed: readonly string[] | undefined;
  /** The type itself, or what its domain is made of. */
  readonly type: string;
}

/**
 * Why a column never holds a value that a condition names, or undefined when it may. A condition
 * compares canonical text, so a value that is right but written otherwise (`"10"` for a price) never
 * holds either.
 *
 * @param value as the config has it
 * @param cell the same as canonical text
 */
export function neverHolds(
  column: SourceColumn,
  domain: ColumnDomain,
  value: unknown,
  cell: Cell,
): string | undefined {
  const { name } = column;
  if (cell === null || cell === undefined) {
    return column.nullable ? undefined : `${name} is NOT NULL`;
  }
  if (typeof value === "object") return `${name} holds no ${JSON.stringify(value)}`;
  if (domain.allowed !== undefined && !domain.allowed.includes(cell)) {
    return `${name} is only ever ${listed(domain.allowed)}, never ${JSON.stringify(value)}`;
  }
  const why = miswritten(domain.type, cell);
  return why === undefined
    ? undefined
    : `${name} (${domain.type}) is never ${JSON.stringify(value)}: ${why}`;
}

const LISTED_MAX = 12;

function listed(values: readonly string[]): string {
  const shown = values.slice(0, LISTED_MAX).map((value) => JSON.stringify(value));
  return values.length > LISTED_MAX
    ? `${shown.join(", ")} and ${values.length - LISTED_MAX} more`
    : shown.join(", ");
}

/** Why a value of this type is not written so; undefined for types whose texts are not known here. */
function miswritten(type: string, cell: string): string | undefined {
  const [, base = type, argument = ""] = /^([a-z0-9_ ]+)(?:\(([-\d,]+)\))?$/.exec(type) ?? [];
  switch (base) {
    case "int2":
    case "int4":
    case "int8":
      return isWholeNumber(base, cell) ? undefined : "it holds whole numbers only";
    case "numeric":
      return miswrittenNumber(cell, argument);
    case "uuid":
      return UUID.test(cell)
        ? undefined
        : "a UUID is written in lower case, with its dashes, without braces";
    case "date":
      return DATE.test(cell) ? undefined : "a date is written 2026-01-31";
    case "timestamp":
    case "timestamptz":
      return isMoment(base, cell)
        ? undefined
        : `a time is written ${base === "timestamp" ? "2026-01-31T10:00:00" : "2026-01-31T10:00:00Z"}, without zeros at the end of its fraction`;
    case "bpchar":
      return argument === "" || Array.from(cell).length === Number(argument)
        ? undefined
        : `its values are padded with blanks to ${argument} characters`;
    case "varchar":
      return argument === "" || Array.from(cell).length <= Number(argument)
        ? undefined
        : `it holds at most ${argument} characters`;
    default:
      return undefined;
  }
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const DATE = /^(\d{4,}-\d\d-\d\d( BC)?|-?infinity)$/;
const MOMENT = /^\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{0,5}[1-9])?/;

function miswrittenNumber(cell: string, argument: string): string | undefined {
  if (/^(NaN|-?Infinity)$/.test(cell)) return undefined;
  if (!/^-?\d+(\.\d+)?$/.test(cell)) return "it holds numbers, written as text";
  if (argument === "") return undefined;
  const [precision = 0, scale = 0] = argument.split(",").map(Number);
  if (scale < 0) return undefined;
  const [whole = "", fraction = ""] = cell.replace("-", "").split(".");
  if (fraction.length !== scale) {
    const digits = scale === 0 ? "no decimals" : `exactly ${scale} decimals`;
    return `its values are written with ${digits}, as ${scale === 0 ? "12" : `12.${"0".repeat(scale)}`}`;
  }
  const digits = whole.replace(/^0+/, "").length;
  if (digits > Math.max(precision - scale, 0))
    return `it has at most ${precision - scale} digits before the point`;
  return undefined;
}

function isMoment(type: "timestamp" | "timestamptz", cell: string): boolean {
  if (/^-?infinity$/.test(cell)) return true;
  const rest = cell.replace(MOMENT, "");
  if (rest === cell) return false;
  return rest.replace(/ BC$/, "") === (type === "timestamptz" ? "+00" : "");
}
