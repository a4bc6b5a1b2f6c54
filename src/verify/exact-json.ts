/** Marks a number that JavaScript cannot hold exactly and that is kept as its text. */
const MARK = "\u0000number ";
const LONG = /[\d.]{16}|\d[eE]/;
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/**
 * Reads a JSON text so that two different numbers never become one: those of more digits than a double holds
 * are kept as texts with a mark that no text of an answer has.
 *
 * @returns undefined for what is no JSON in UTF-8
 */
export function parseExactly(bytes: Buffer): { readonly value: unknown } | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // Tried as it is first: what is replaced below is then in valid JSON.
    const value: unknown = JSON.parse(text);
    if (!LONG.test(text)) return { value };
    return { value: JSON.parse(text.replaceAll(TOKEN, (token) => exact(token))) };
  } catch {
    return undefined;
  }
}

/** A number, also one that was kept as text or that an application writes as text. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value !== "string") return undefined;
  const text = value.startsWith(MARK) ? value.slice(MARK.length) : value;
  return /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

/** As it was written. */
export function textOf(value: unknown): string {
  if (typeof value === "string" && value.startsWith(MARK)) return value.slice(MARK.length);
  return JSON.stringify(value);
}

function exact(token: string): string {
  if (token.startsWith('"')) return token;
  const digits = token
    .replace(/[eE].*$/, "")
    .replaceAll(/\D/g, "")
    .replace(/^0+/, "");
  const number = Number(token);
  const isHeld = Number.isFinite(number) && (number !== 0 || digits === "");
  return isHeld && digits.length <= 15 ? token : JSON.stringify(MARK + token);
}
