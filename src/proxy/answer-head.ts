/** An upstream said what is no answer, or one that two readers could take for different ones. */
export class AnswerFault extends Error {}

/** How the end of a body is known; RFC 9112, 6.3. A number is its length in bytes. */
export type Framing = number | "chunked" | "until-close";

export interface AnswerHead {
  readonly status: number;
  /** The reason phrase, which may be empty. */
  readonly text: string;
  /** Name, value, name, value, … as they came, without the white space around values. */
  readonly headers: readonly string[];
  /** Of a body, if there is one: not for HEAD, nor with 204 and 304. */
  readonly framing: Framing;
  /** The connection may be used again afterwards. */
  readonly isKept: boolean;
  /** The upstream closes the connection when it is unused for so long. Undefined: it does not say. */
  readonly keptMs: number | undefined;
}

const TEXT = String.raw`[\t\x20-\x7e\x80-\xff]*`;
// Neither folded lines nor a bare carriage return or line feed fit.
const FIELDS = String.raw`(?:[!#$%&'*+.^_\x60|~\dA-Za-z-]+:${TEXT}\r\n)*`;
const HEAD = new RegExp(String.raw`^HTTP/1\.([01]) ([1-9]\d\d)(?: (${TEXT}))?\r\n(${FIELDS})$`);
const ONLY_FIELDS = new RegExp(`^${FIELDS}$`);
const LENGTH = /^\d{1,15}$/;

/**
 * @param text up to the end of the last header line, in Latin-1
 * @throws AnswerFault
 */
export function parseHead(text: string): AnswerHead {
  const [, minor, status, reason = "", lines] = HEAD.exec(text) ?? [];
  if (lines === undefined) throw new AnswerFault("it answered what is not HTTP/1.1");
  const headers = fieldsOf(lines);
  let length: string | undefined;
  let coding: string | undefined;
  let connection = "";
  let keepAlive = "";
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1]!;
    switch (lowerCased(headers[i]!)) {
      case "content-length":
        if (length !== undefined) throw new AnswerFault("its answer has two lengths");
        length = value;
        break;
      case "transfer-encoding":
        if (coding !== undefined) throw new AnswerFault("its answer has two codings");
        coding = value;
        break;
      case "connection":
        connection += `${value.toLowerCase()},`;
        break;
      case "keep-alive":
        keepAlive = value;
    }
  }
  const framing = framingOf(length, coding, minor === "0");
  const isKept = !says(connection, "close") && (minor === "1" || says(connection, "keep-alive"));
  const seconds = /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(keepAlive)?.[1];
  return {
    status: Number(status),
    text: reason,
    headers,
    framing,
    isKept: isKept && framing !== "until-close",
    keptMs: seconds === undefined ? undefined : Number(seconds) * 1_000,
  };
}

/**
 * @param text lines behind a body in chunks, in Latin-1
 * @returns flat, as the headers of a head
 * @throws AnswerFault
 */
export function parseTrailers(text: string): readonly string[] {
  if (!ONLY_FIELDS.test(text)) throw new AnswerFault("its answer has trailers that are not HTTP");
  const trailers = fieldsOf(text);
  for (let i = 0; i < trailers.length; i += 2)
    if (FRAMING_FIELDS.has(trailers[i]!.toLowerCase()))
      throw new AnswerFault(`its answer has ${trailers[i]} among its trailers`);
  return trailers;
}

const FRAMING_FIELDS = new Set(["content-length", "transfer-encoding"]);

function framingOf(
  length: string | undefined,
  coding: string | undefined,
  isHttp10: boolean,
): Framing {
  if (coding !== undefined) {
    if (length !== undefined) throw new AnswerFault("its answer has a length and a coding");
    // Chunked is the only coding that everybody undoes; before 1.1 there is none.
    if (isHttp10 || coding.toLowerCase() !== "chunked")
      throw new AnswerFault("its answer has a coding other than chunked");
    return "chunked";
  }
  if (length === undefined) return "until-close";
  if (!LENGTH.test(length)) throw new AnswerFault("its answer has a length that is none");
  return Number(length);
}

/** Lines that were checked. */
function fieldsOf(lines: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at < lines.length;) {
    const colon = lines.indexOf(":", at);
    const end = lines.indexOf("\r\n", colon);
    fields.push(lines.slice(at, colon), trimmed(lines, colon + 1, end));
    at = end + 2;
  }
  return fields;
}

/** Of spaces and tabs only: in Latin-1 other bytes of a text in UTF-8 look like white space. */
function trimmed(text: string, from: number, to: number): string {
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Only what is as long as a name that is looked for. */
function lowerCased(name: string): string {
  const { length } = name;
  return length === 10 || length === 14 || length === 17 ? name.toLowerCase() : "";
}

function says(connection: string, word: string): boolean {
  return connection !== "" && connection.split(",").some((one) => one.trim() === word);
}
