import { keyOfStream, STREAM_ID_LENGTH_MAX } from "./stream-id.ts";
import type { TableMapper } from "./table-mapper.ts";
import { isStorableText } from "../model/storable-text.ts";
import { isDecimal, type Cells } from "../model/table.ts";

const INT8_MIN = -(2n ** 63n);
const INT8_MAX = 2n ** 63n - 1n;

/**
 * Why no row can belong to a stream of this id: an id is the canonical text of a key, and reads back as
 * itself. Undefined where one can, and where the key has a type whose canonical text is known to the
 * source alone.
 *
 * @param root mapper of the root table of the id's stream type
 */
export function keyFault(root: TableMapper, id: string): string | undefined {
  if (id.length > STREAM_ID_LENGTH_MAX) return `it is longer than ${STREAM_ID_LENGTH_MAX}`;
  const { table, parts } = root;
  const key = keyOfStream(id);
  const names = parts.streamColumns.map((column) => table.columns[column]!.name);
  if (key.length !== names.length) {
    const has = key.length === 1 ? "one part" : `${key.length} parts`;
    return `its key has ${has}, and that of ${table.name} is (${names.join(", ")}); a comma within a value is written \\,`;
  }
  for (const [i, text] of key.entries()) {
    const { name, type } = table.columns[parts.streamColumns[i]!]!;
    // Rows may refer to no root at all.
    const wanted = text === null ? undefined : textFault(text, type);
    if (wanted !== undefined)
      return `${JSON.stringify(text)} is not ${wanted}, as ${table.name}.${name} (${type}) is written`;
  }
  const cells: (string | null)[] = [];
  for (const [i, text] of key.entries()) cells[parts.streamColumns[i]!] = text;
  const again = root.streamIdOf(cells as Cells);
  return again === id ? undefined : `it would be written ${again}`;
}

/** What a canonical text of this type looks like, where this one does not. */
function textFault(text: string, type: string): string | undefined {
  if (["int2", "int4", "int8"].includes(type)) {
    if (!/^(0|-?[1-9]\d{0,18})$/.test(text)) return "a whole number";
    const number = BigInt(text);
    return number < INT8_MIN || number > INT8_MAX ? "a number of 64 bits" : undefined;
  }
  if (isDecimal(type)) {
    const isNumber =
      /^(-?(0|[1-9]\d*)(\.\d+)?|NaN|-?Infinity)$/.test(text) && !/^-[0.]+$/.test(text);
    return isNumber ? undefined : "a decimal number";
  }
  if (type === "uuid")
    return /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/.test(text)
      ? undefined
      : "a UUID in lower case";
  if (type === "bool") return /^[tf]$/.test(text) ? undefined : "t or f";
  if (type === "bytea") return /^\\x([\da-f]{2})*$/.test(text) ? undefined : "\\x and hex digits";
  return isStorableText(text) ? undefined : "text that a database can hold";
}
