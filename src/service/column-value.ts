import { CODECS } from "../model/codec.ts";
import type { ColumnDefinition } from "../model/column-definition.ts";
import { isStorableText } from "../model/storable-text.ts";
import { isIntegerType, isWholeNumber } from "../model/whole-number.ts";
import { jsonbText } from "./jsonb-text.ts";

const DECIMAL = /^(-?)0*(\d+)(?:\.(\d+))?$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const TIME = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?(Z)?$/;
const CHARACTERS = /^(varchar|bpchar)\((\d+)\)$/;

/**
 * A value as a service says it, as the canonical text that the column will have in the legacy database:
 * `12.5` in numeric(12,2) is `12.50` there, and a time ends before zeros that say nothing. So the fold
 * and the row stay equal. Of types that are not named here the text is taken as it is.
 *
 * @throws Error that says what is expected
 */
export function columnText({ type, codec }: ColumnDefinition, value: unknown): string | null {
  if (value === null || value === undefined) return null;
  switch (codec) {
    case "int":
      if (!Number.isSafeInteger(value)) throw new Error("a whole number");
      return integerText(type, CODECS.int.fromJson(value));
    case "bool":
      if (typeof value !== "boolean") throw new Error("true or false");
      return CODECS.bool.fromJson(value);
    case "bytea":
      if (typeof value !== "string" || !BASE64.test(value)) throw new Error("base64");
      return CODECS.bytea.fromJson(value);
    case "timestamp":
    case "timestamptz":
      return timeText(codec, value);
    case "text":
      if (typeof value !== "string") throw new Error(`text, as ${type} has it in JSON`);
      if (!isStorableText(value)) throw new Error("text without U+0000 and half surrogate pairs");
      return plainText(type, value);
  }
}

function plainText(type: string, value: string): string {
  if (type === "numeric" || /^numeric\(\d+(,-?\d+)?\)$/.test(type)) return decimalText(type, value);
  const [, kind, lengthMax] = CHARACTERS.exec(type) ?? [];
  if (kind !== undefined) return charactersText(kind, Number(lengthMax), value);
  switch (type) {
    case "jsonb":
      return jsonbText(value);
    case "uuid":
      if (!UUID.test(value)) throw new Error("a UUID");
      return value.toLowerCase();
    case "int8":
      return integerText(type, value);
    default:
      return value;
  }
}

function integerText(type: string, text: string): string {
  if (isIntegerType(type) && !isWholeNumber(type, text))
    throw new Error(`a whole number for which ${type} has room`);
  return text;
}

/** What the column has no room for would be refused in the legacy database, long after it is an event. */
function charactersText(kind: string, lengthMax: number, value: string): string {
  const { length } = Array.from(value);
  if (length > lengthMax) throw new Error(`text of at most ${lengthMax} characters`);
  return kind === "bpchar" ? value + " ".repeat(lengthMax - length) : value;
}

/** Digits behind the point as many as the column has. Rounding is a decision of the service's own. */
function decimalText(type: string, value: string): string {
  if (type === "numeric" && /^(NaN|-?Infinity)$/.test(value)) return value;
  const match = DECIMAL.exec(value);
  if (match === null) throw new Error("a decimal number as text");
  const [, sign, whole, digits = ""] = match;
  const [, precision, scaleText] = /^numeric\((\d+)(?:,(-?\d+))?\)$/.exec(type) ?? [];
  if (precision === undefined) return `${minus(sign!, whole! + digits)}${whole}${behind(digits)}`;
  const scale = Math.max(0, Number(scaleText ?? 0));
  if (/[1-9]/.test(digits.slice(scale)))
    throw new Error(`at most ${scale} digits behind the point`);
  const wholeMax = Number(precision) - scale;
  if (whole !== "0" && whole!.length > wholeMax)
    throw new Error(`at most ${wholeMax} digits before the point`);
  return `${minus(sign!, whole! + digits)}${whole}${behind(digits.slice(0, scale).padEnd(scale, "0"))}`;
}

function minus(sign: string, digits: string): string {
  return /[1-9]/.test(digits) ? sign : "";
}

function behind(digits: string): string {
  return digits === "" ? "" : `.${digits}`;
}

function timeText(codec: "timestamp" | "timestamptz", value: unknown): string {
  const zone = codec === "timestamptz" ? "Z" : "";
  const expected = `a time as 2026-01-31T10:00:00.123456${zone}`;
  if (typeof value !== "string") throw new Error(expected);
  if (/infinity$| BC$|^\d{5,}-/.test(value)) return CODECS[codec].fromJson(value);
  const match = TIME.exec(value);
  if (
    match === null ||
    (match[4] ?? "") !== zone ||
    Number.isNaN(Date.parse(`${match[1]}T${match[2]}Z`))
  )
    throw new Error(expected);
  const fraction = (match[3] ?? "").replace(/0+$/, "");
  return `${match[1]} ${match[2]}${behind(fraction)}${zone === "Z" ? "+00" : ""}`;
}
