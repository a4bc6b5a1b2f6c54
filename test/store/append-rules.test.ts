import { describe, expect, test } from "vitest";
import type { NewEvent } from "../../src/model/event.ts";
import { assertAppendable, expectedRange, firstResult } from "../../src/store/append-rules.ts";

const ID = "00000000-0000-7000-8000-000000000001";
const OTHER = "00000000-0000-7000-8000-00000000000a";
const event = (more: Partial<NewEvent> = {}): NewEvent => ({
  id: ID,
  type: "Made",
  data: {},
  ...more,
});
const codeOf = (call: () => unknown): unknown => {
  try {
    call();
    return "accepted";
  } catch (error) {
    return (error as { code?: string }).code;
  }
};
const append = (more: Partial<NewEvent>): unknown =>
  codeOf(() => assertAppendable("s-1", [event(more)]));

describe("the time of an event", () => {
  test.each([
    "2026-01-31T10:00Z",
    "2026-01-31T10:00:00.123456Z",
    "2024-02-29T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "0004-02-29T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T10:00:00+15:59",
    "2026-01-31T10:00:00-15:59",
  ])("may be %s", (time) => expect(append({ time })).toBe("accepted"));

  test.each([
    "",
    "2026-01-31",
    "2026-01-31T10:00:00",
    "2026-01-31 10:00:00Z",
    "2026-02-29T10:00:00Z",
    "2026-04-31T10:00:00Z",
    "2100-02-29T10:00:00Z",
    "2026-13-01T10:00:00Z",
    "2026-00-01T10:00:00Z",
    "2026-01-00T10:00:00Z",
    "0000-01-01T00:00:00Z",
    "2026-01-31T24:00:01Z",
    "2026-01-31T10:00:60Z",
    "2026-01-31T10:00:00+16:00",
    "2026-01-31T10:00:00+05:60",
    "2026-01-31T10:00:00.1234567Z",
    "yesterday",
  ])("may not be %s, which no calendar or no database knows", (time) =>
    expect(append({ time })).toBe("INVARIANT_BROKEN"),
  );
});

describe("the texts of an event", () => {
  test("may hold every character, and JSON may hold what looks like an escape", () => {
    const words = "\u0001 \u2028 😀 \u{10ffff} \\u0000 \\ud800 ' \" \\";
    expect(append({ actor: words, correlationId: words, data: { [words]: words } })).toBe(
      "accepted",
    );
  });

  test.each(["\0", "a\0b", "\ud800", "x\udfff", "\udc00\ud800"])(
    "may not hold %j anywhere",
    (bad) => {
      expect(append({ actor: bad })).toBe("VALUE_UNMAPPABLE");
      expect(append({ type: bad })).toBe("VALUE_UNMAPPABLE");
      expect(append({ data: { deep: [{ text: bad }] } })).toBe("VALUE_UNMAPPABLE");
      expect(append({ data: { [bad]: 1 } })).toBe("VALUE_UNMAPPABLE");
      expect(append({ metadata: { reason: bad } })).toBe("VALUE_UNMAPPABLE");
      expect(codeOf(() => assertAppendable(`s-${bad}`, [event()]))).toBe("VALUE_UNMAPPABLE");
    },
  );

  test("may not be what JSON cannot say", () => {
    expect(append({ data: { big: 1n } })).toBe("VALUE_UNMAPPABLE");
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    expect(append({ data: circle })).toBe("VALUE_UNMAPPABLE");
  });
});

test("an append has a stream, events, and ids that are UUIDs and its own", () => {
  expect(codeOf(() => assertAppendable("", [event()]))).toBe("INVARIANT_BROKEN");
  expect(codeOf(() => assertAppendable("s-1", []))).toBe("INVARIANT_BROKEN");
  expect(append({ id: "7" })).toBe("INVARIANT_BROKEN");
  expect(append({ type: "" })).toBe("INVARIANT_BROKEN");
  expect(codeOf(() => assertAppendable("s-1", [event(), event({ id: ID.toUpperCase() })]))).toBe(
    "INVARIANT_BROKEN",
  );
});

test("an expected version is a range of versions at which the stream may stand", () => {
  expect(expectedRange("any")).toEqual([0, 2 ** 31 - 1]);
  expect(expectedRange("none")).toEqual([0, 0]);
  expect(expectedRange("exists")).toEqual([1, 2 ** 31 - 1]);
  expect(expectedRange(0)).toEqual([0, 0]);
  expect(expectedRange(7)).toEqual([7, 7]);
  for (const wrong of [-1, 1.5, Number.NaN, 2 ** 31])
    expect(codeOf(() => expectedRange(wrong))).toBe("INVARIANT_BROKEN");
});

describe("an append that was made before", () => {
  const events = [event(), event({ id: OTHER.toUpperCase() })];
  const stored = (id: string, version: number, stream = "s-1") => ({ id, stream, version });

  test("has its first result, in whatever order the store gives the events", () => {
    expect(firstResult("s-1", events, [stored(OTHER, 5), stored(ID, 4)])).toEqual({
      firstVersion: 4,
      lastVersion: 5,
    });
  });

  test.each([
    ["only a part is there", [stored(ID, 4)]],
    ["they stand in another stream", [stored(ID, 4, "s-2"), stored(OTHER, 5, "s-2")]],
    ["they stand in another order", [stored(ID, 5), stored(OTHER, 4)]],
    ["something stands between them", [stored(ID, 4), stored(OTHER, 6)]],
  ])("is refused when %s", (_, known) => {
    expect(codeOf(() => firstResult("s-1", events, known))).toBe("INVARIANT_BROKEN");
  });
});
