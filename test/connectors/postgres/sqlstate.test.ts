import { describe, expect, test } from "vitest";
import { connect } from "../../../connectors/postgres/session.ts";
import { classify, sqlstateOf } from "../../../connectors/postgres/sqlstate.ts";
import { BanyanError } from "../../../src/model/errors.ts";

function driverError(code: string, message = "something", routine = ""): Error {
  return Object.assign(new Error(message), { code, routine });
}

describe("classification of driver errors", () => {
  test.each([
    ["57P01", "SOURCE_UNREACHABLE"],
    ["57P03", "SOURCE_UNREACHABLE"],
    ["ECONNREFUSED", "SOURCE_UNREACHABLE"],
    ["ECONNRESET", "SOURCE_UNREACHABLE"],
    ["40P01", "SOURCE_UNREACHABLE"],
    ["55P03", "SOURCE_UNREACHABLE"],
    ["53300", "SOURCE_UNREACHABLE"],
    ["55006", "SLOT_IN_USE"],
    ["42P01", "TABLE_MISSING"],
    ["28P01", "SOURCE_REFUSED"],
    ["3D000", "SOURCE_REFUSED"],
    ["42501", "SOURCE_REFUSED"],
    ["53100", "SOURCE_REFUSED"],
    ["ENOTFOUND", "SOURCE_REFUSED"],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "SOURCE_REFUSED"],
    ["XX000", "SOURCE_REFUSED"],
    ["", "SOURCE_REFUSED"],
  ])("%s of the source is %s", (code, expected) => {
    expect(classify(driverError(code), "source")).toMatchObject({ code: expected });
  });

  test.each([
    ["ECONNREFUSED", "STORE_UNREACHABLE"],
    ["57P01", "STORE_UNREACHABLE"],
    ["57P03", "STORE_UNREACHABLE"],
    ["53300", "STORE_UNREACHABLE"],
    ["3D000", "STORE_REFUSED"],
    ["42501", "STORE_REFUSED"],
    ["55000", "STORE_REFUSED"],
    ["55006", "STORE_REFUSED"],
    ["42P01", "STORE_REFUSED"],
    ["28P01", "STORE_REFUSED"],
  ])("%s of the store is %s", (code, expected) => {
    expect(classify(driverError(code), "store")).toMatchObject({ code: expected });
  });

  test.each([
    ["42704", 'publication "p" does not exist', "", "PUBLICATION_MISSING"],
    ["42704", "Publikation »p« existiert nicht", "GetPublicationByName", "PUBLICATION_MISSING"],
    ["42704", 'replication slot "s" does not exist', "", "SLOT_LOST"],
    ["42704", "Replikations-Slot »s« existiert nicht", "ReplicationSlotAcquire", "SLOT_LOST"],
    ["55000", 'can no longer get changes from replication slot "s"', "", "SLOT_LOST"],
    ["55000", 'can no longer access replication slot "s"', "", "SLOT_LOST"],
    ["55000", 'logical decoding requires "wal_level" >= "logical"', "", "SOURCE_NOT_READY"],
    [
      "58P01",
      "requested WAL segment 000000010000000000000001 has already been removed",
      "",
      "SLOT_LOST",
    ],
    ["42704", 'type "x" does not exist', "", "SOURCE_REFUSED"],
    ["XX000", "could not open relation with OID 16384", "relation_open", "SOURCE_CHANGED"],
    ["XX000", "could not open relation with OID 16384", "", "SOURCE_CHANGED"],
    ["XX000", "cache lookup failed for type 16384", "lookup_type_cache", "SOURCE_REFUSED"],
  ])("%s with %j is told apart", (code, message, routine, expected) => {
    expect(classify(driverError(code, message, routine), "source")).toMatchObject({
      code: expected,
    });
  });

  test.each([
    ['database "d" is not currently accepting connections', ""],
    ["Datenbank »d« akzeptiert gegenwärtig keine Verbindungen", "CheckMyDatabase"],
  ])("a database that takes no sessions for now is tried again: %s", (message, routine) => {
    const error = driverError("55000", message, routine);
    expect(classify(error, "store")).toMatchObject({ code: "STORE_UNREACHABLE" });
    expect(classify(error, "source")).toMatchObject({ code: "SOURCE_UNREACHABLE" });
  });

  test("what is classified stays as it is, and its SQLSTATE can still be asked for", () => {
    const first = classify(driverError("55P03"), "source", "waiting");
    expect(classify(first, "store")).toBe(first);
    expect(sqlstateOf(first)).toBe("55P03");
    expect(first.message).toBe("waiting: something");
  });

  test("of several addresses the first failure is told", () => {
    const error = new AggregateError(
      [driverError("ECONNREFUSED", "connect ECONNREFUSED ::1:1")],
      "",
    );
    expect(classify(error, "source")).toMatchObject({ code: "SOURCE_UNREACHABLE" });
  });

  test.each([
    "postgres://u:hunter2@[bad/db",
    "postgres://u:hunter2@127.0.0.1:1/db",
    "mysql://u:hunter2@h/db",
    "postgres://u:hunter2@127.0.0.1:99999/db",
  ])("a failed connection never tells the password (%#)", async (url) => {
    const error: unknown = await connect({ url, applicationName: "test" }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(BanyanError);
    const seen: unknown[] = [];
    for (let e: unknown = error; e instanceof Error; e = e.cause)
      seen.push(e.message, e.stack, JSON.stringify(e));
    expect(seen.join("\n")).not.toContain("hunter2");
  });
});
