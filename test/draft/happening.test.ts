import { describe, expect, test } from "vitest";
import { deedOf, happeningOf, tellsOf } from "../../src/draft/happening.ts";

describe("a state that is come into is named in the past tense", () => {
  test.each([
    ["shipped", "Shipped"],
    ["PAID", "Paid"],
    ["partially_paid", "PartiallyPaid"],
    ["cancelled by customer", "CancelledByCustomer"],
    ["chargedBack", "ChargedBack"],
    ["withdrawn", "Withdrawn"],
    ["active", "Activated"],
    ["inactive", "Deactivated"],
    ["open", "Opened"],
    ["on_hold", "PutOnHold"],
    ["in transit", "WentInTransit"],
    ["in-progress", "Started"],
    ["out for delivery", "WentOutForDelivery"],
    ["processing", "BeganProcessing"],
    ["awaiting_payment", "BeganAwaitingPayment"],
    ["pending", "BecamePending"],
    ["ready", "BecameReady"],
    ["unpaid", "BecameUnpaid"],
    ["not_started", "BecameNotStarted"],
    ["offer 2", "BecameOffer2"],
    ["отправлен", "BecameOtpravlen"],
    ["storniert", "BecameStorniert"],
    ["__proto__", "BecameProto"],
    ["constructor", "BecameConstructor"],
  ])("%s is %s", (value, happening) => {
    expect(happeningOf(value)).toBe(happening);
  });

  test.each(["3", "A", "", "-", "x1", "😀"])("the code %j says nothing by itself", (value) => {
    expect(happeningOf(value)).toBeUndefined();
  });

  test("what the noun says already is not said again", () => {
    expect(happeningOf("order_shipped", ["order"])).toBe("Shipped");
    expect(happeningOf("order", ["order"])).toBe("BecameOrder");
  });
});

describe("columns that tell more of a state go with it", () => {
  test.each([
    [["paid", "at"], ["paid"]],
    [["payment", "ref"], ["paid"]],
    [["cancel", "reason"], ["cancelled"]],
    [
      ["cancellation", "fee"],
      ["cancelled", "by", "customer"],
    ],
    [["delivery", "date"], ["delivered"]],
    [["approval", "note"], ["approved"]],
    [["shipped", "on"], ["shipped"]],
    [["denied", "by"], ["denied"]],
    [["closing", "words"], ["closed"]],
  ])("%j with %j", (column, state) => {
    expect(tellsOf(column, state)).toBe(true);
  });

  test.each([
    [["payload"], ["paid"]],
    [["note"], ["paid"]],
    [["shipper", "name"], ["shipped"]],
    [
      ["open", "at"],
      ["became", "ready"],
    ],
    [[], ["paid"]],
  ])("%j not with %j", (column, state) => {
    expect(tellsOf(column, state)).toBe(false);
  });
});

describe("a time that is filled in names the deed as done, or nothing", () => {
  test.each([
    ["delivered", "delivered"],
    ["first opened", "first opened"],
    ["return", "returned"],
    ["pickup", "picked up"],
    ["expected return", undefined],
    ["birth", undefined],
    ["", undefined],
  ])("%s is %s", (words, deed) => {
    expect(deedOf(words.split(" ").filter((word) => word !== ""))?.join(" ")).toBe(deed);
  });
});
