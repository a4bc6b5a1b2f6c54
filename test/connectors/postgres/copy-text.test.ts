import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseCopyRow } from "../../../connectors/postgres/copy-text.ts";

const SHORT: Readonly<Record<string, string>> = {
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
};

function escape(cell: string | null): string {
  return cell === null ? "\\N" : cell.replaceAll(/[\b\f\n\r\t\v\\]/g, (char) => SHORT[char]!);
}

function parse(text: string, columns: number) {
  const bytes = Buffer.from(`##${text}##`);
  return parseCopyRow(bytes, 2, bytes.length - 2, columns);
}

const violation = expect.objectContaining({ code: "PROTOCOL_VIOLATION" });

describe("COPY text rows", () => {
  test("any row comes back cell for cell", () => {
    const char = fc.oneof(
      fc.constantFrom("\\", "\t", "\n", "\r", "\b", "N", "x", "1", "é", "😀"),
      fc.string({ unit: "grapheme" }),
    );
    const cell = fc.oneof(
      fc.constant(null),
      fc.array(char, { maxLength: 30 }).map((chars) => chars.join("")),
    );
    fc.assert(
      fc.property(
        fc.array(cell, { minLength: 1, maxLength: 8 }),
        fc.constantFrom("", "\n"),
        (row, end) => {
          fc.pre(row.every((value) => value === null || !value.includes("\0")));
          expect(parse(row.map(escape).join("\t") + end, row.length)).toEqual(row);
        },
      ),
    );
  });

  test("NULL is not the text \\N, and an empty cell is not NULL", () => {
    expect(parse("\\N\t\\\\N\t\t\\\\\\N", 4)).toEqual([null, "\\N", "", "\\N"]);
  });

  test("octal and hexadecimal escapes are bytes", () => {
    expect(parse("\\101\\60\\7x\t\\x41\\x4\\xg\\xC3\\xbc", 2)).toEqual(["A0\x07x", "A\x04xgü"]);
  });

  test("a table without columns has empty rows", () => {
    expect(parse("\n", 0)).toEqual([]);
  });

  test.each([
    ["too few cells", "a", 2],
    ["too many cells", "a\tb\tc", 2],
    ["an escape at the end", "a\\", 1],
    ["cells in a table without columns", "a", 0],
  ])("%s are a protocol violation", (_name, text, columns) => {
    expect(() => parse(text, columns)).toThrowError(violation);
  });

  test("any bytes are a row or a protocol violation", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.integer({ min: 0, max: 5 }),
        (bytes, columns) => {
          try {
            expect(parseCopyRow(Buffer.from(bytes), 0, bytes.length, columns)).toHaveLength(
              columns,
            );
          } catch (error) {
            expect(error).toMatchObject({ code: "PROTOCOL_VIOLATION" });
          }
        },
      ),
    );
  });
});
