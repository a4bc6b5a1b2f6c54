import { keyOfStream, keyText, streamId, streamTypeOf, STREAM_ID_LENGTH_MAX } from "./stream-id.ts";
import type { TableMapper } from "./table-mapper.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import { isStorableText } from "../model/storable-text.ts";
import { isDecimal, trimScale, type SourceColumn } from "../model/table.ts";

const INT8_MIN = -(2n ** 63n);
const INT8_MAX = 2n ** 63n - 1n;

/** What names a stream: the key of its root table. */
interface RootKey {
  /** Qualified name. */
  readonly table: string;
  /** In the order of the key. */
  readonly columns: readonly Pick<SourceColumn, "name" | "type">[];
}

/**
 * Why no row can belong to a stream of this id: an id is the canonical text of a key, and reads back as
 * itself. Undefined where one can, and where the key has a type whose canonical text is known to the
 * source alone.
 *
 * @param root mapper of the root table of the id's stream type
 */
export function keyFault({ table, parts }: TableMapper, id: string): string | undefined {
  const columns = parts.streamColumns.map((column) => table.columns[column]!);
  return faultOf({ table: table.name, columns }, id);
}

/**
 * As {@link keyFault}, by what a store knows of the mapping that wrote its events; undefined also for a
 * stream type that it does not know.
 */
export function recordedKeyFault(
  mappings: ReadonlyMap<number, MappingDefinition>,
  id: string,
): string | undefined {
  if (!id.includes("-")) return undefined;
  const type = streamTypeOf(id);
  const [newest] = [...mappings]
    .filter(([, { streams }]) => Object.hasOwn(streams, type))
    .toSorted(([a], [b]) => b - a);
  if (newest === undefined) return undefined;
  const { root, roles } = newest[1].streams[type]!;
  const role = roles[root]!;
  const columns = role.key.map((name) => role.columns.find((column) => column.name === name)!);
  return faultOf({ table: role.table, columns }, id);
}

function faultOf({ table, columns }: RootKey, id: string): string | undefined {
  if (id.length > STREAM_ID_LENGTH_MAX) return `it is longer than ${STREAM_ID_LENGTH_MAX}`;
  const key = keyOfStream(id);
  if (key.length !== columns.length) {
    const has = key.length === 1 ? "one part" : `${key.length} parts`;
    const names = columns.map(({ name }) => name).join(", ");
    return `its key has ${has}, and that of ${table} is (${names}); a comma within a value is written \\,`;
  }
  for (const [i, text] of key.entries()) {
    const { name, type } = columns[i]!;
    // Rows may refer to no root at all.
    const wanted = text === null ? undefined : textFault(text, type);
    if (wanted !== undefined)
      return `${JSON.stringify(text)} is not ${wanted}, as ${table}.${name} (${type}) is written`;
  }
  const written = key.map((text, i) =>
    text !== null && isDecimal(columns[i]!.type) ? trimScale(text) : text,
  );
  const again = streamId(streamTypeOf(id), keyText(written, [...written.keys()]));
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
