const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;
const DIGITS_MAX = 15;

/**
 * JSON as Postgres writes a jsonb: members by length of their names and then by bytes, the last of
 * two with one name, a blank behind `:` and `,`.
 *
 * @param text JSON; its numbers have at most 15 digits and no exponent, so that none changes on the way
 * @throws Error that says what is expected
 */
export function jsonbText(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("JSON as text");
  }
  // Texts are taken out, so that what is left of digits is numbers.
  const numbers = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g) ?? [];
  const isExact = (number: string): boolean =>
    NUMBER.test(number) &&
    number.replaceAll(/\D/g, "").length <= DIGITS_MAX &&
    String(Number(number)) === number;
  if (!numbers.every(isExact))
    throw new Error("JSON whose numbers have at most 15 digits, none of them a zero at the end");
  return written(value);
}

function written(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(written).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .map(([name, member]) => ({ name, bytes: Buffer.from(name), member: member as unknown }))
    .sort((a, b) => a.bytes.length - b.bytes.length || Buffer.compare(a.bytes, b.bytes));
  return `{${members.map(({ name, member }) => `${JSON.stringify(name)}: ${written(member)}`).join(", ")}}`;
}
