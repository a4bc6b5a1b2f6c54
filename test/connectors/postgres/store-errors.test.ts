import { expect, test } from "vitest";
import { classifyStore } from "../../../connectors/postgres/store-errors.ts";

function driverError(message: string, code?: string): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

test.each([
  ["another writer has taken over", "BN001", "PIPELINE_FENCED"],
  ["the checkpoint would go back to 1", "BN002", "INVARIANT_BROKEN"],
  [
    'duplicate key value violates unique constraint "events_stream_id_version_key"',
    "23505",
    "STREAM_VERSION_CONFLICT",
  ],
  ['doppelter Schlüsselwert verletzt »events_event_id_key«', "23505", "INVARIANT_BROKEN"],
  ['duplicate key value violates unique constraint "mappings_pkey"', "23505", "STORE_REFUSED"],
  ["Query read timeout", undefined, "STORE_UNREACHABLE"],
  ["cannot execute INSERT in a read-only transaction", "25006", "STORE_REFUSED"],
  ['schema "banyan" does not exist', "3F000", "STORE_REFUSED"],
  ["canceling statement due to lock timeout", "55P03", "STORE_UNREACHABLE"],
])("%s (%s) is %s", (message, code, expected) => {
  expect(classifyStore(driverError(message, code), "doing")).toMatchObject({
    code: expected,
    message: expect.stringMatching(/^(doing: |another process)/) as unknown,
  });
});

test("a crowd at the pool is not taken for a server that is gone", () => {
  const error = classifyStore(driverError("timeout exceeded when trying to connect"), "appending");
  expect(error).toMatchObject({ code: "STORE_UNREACHABLE", recovery: "retry" });
  expect(error.hint).toContain("sessionsMax");
});

test("what is classified stays as it is", () => {
  const first = classifyStore(driverError("x", "25006"), "one");
  expect(classifyStore(first, "two")).toBe(first);
});
