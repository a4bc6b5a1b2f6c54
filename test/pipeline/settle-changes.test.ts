import { describe, expect, test } from "vitest";
import { child, stream, table } from "../../src/mapping/rules.ts";
import { encodeImage } from "../../src/mapping/row-images.ts";
import type { Cell } from "../../src/model/cell.ts";
import type { Change } from "../../src/model/change.ts";
import type { ReplicaIdentity } from "../../src/model/table.ts";
import { ChunkFrontier } from "../../src/pipeline/chunk-frontier.ts";
import { Frontiers } from "../../src/pipeline/frontiers.ts";
import { settleChanges } from "../../src/pipeline/settle-changes.ts";
import { change, compile, shape, transaction } from "../support/mapping-fixtures.ts";

/*
 * Orders up to 10 are told; 11 to 20 were read by a snapshot that sees transaction 1 and not transaction
 * 2; from 21 on nothing is read. Lines refer to orders; `big` is a value that the log may leave out.
 */

const UNKNOWN = undefined;

function setUp(
  identity: ReplicaIdentity,
  kept: Readonly<Record<string, readonly Cell[]>> = {},
  /** Whether images were kept from the first chunk on. */
  isImaged = true,
) {
  const orders = shape("public.orders", "*id:int4 n:int4", identity);
  const lines = shape("public.lines", "*id:int4 order_id:int4 big:text", identity);
  const mapping = compile(
    {
      order: stream(table("orders"), {
        children: { lines: child(table("lines"), { order_id: "id" }) },
        otherwise: "OrderAmended",
      }),
    },
    [orders, lines],
  );
  const frontiers = new Frontiers();
  const sees = (id: string): boolean => id === transaction(1).id;
  const chunk = { end: ["20"], sees, fence: transaction(5).commit };
  frontiers.set("order", new ChunkFrontier(["integer"], ["10"], [chunk], () => isImaged));
  const settle = async (number: number, ...changes: Change[]) => {
    const copies = changes.map((one): Change => ({ ...one }));
    const images = (_table: string, keys: readonly string[]) =>
      Promise.resolve(
        keys.map((key) => (kept[key] === undefined ? undefined : encodeImage(lines, kept[key]))),
      );
    const one = { transaction: transaction(number), changes: copies };
    const settled = await settleChanges([one], mapping, frontiers, images);
    return {
      told: settled.changes[0]!.map((each) =>
        each.kind === "truncate" ? ["truncate"] : [each.kind, each.before, each.after],
      ),
      images: settled.images.map(({ key, image }) => [
        key,
        image === undefined ? undefined : (JSON.parse(image) as { order_id: string }).order_id,
      ]),
    };
  };
  return { orders, lines, settle };
}

describe("with whole old rows in the log", () => {
  const moves = [
    ["told", "5", "6", 1, ["update"]],
    ["told to unread", "5", "30", 1, ["delete"]],
    ["unread to told", "30", "5", 1, ["insert"]],
    ["told to held", "5", "15", 1, ["delete"]],
    ["held to told", "15", "5", 1, ["insert"]],
    ["told to read before it", "5", "15", 2, ["update"]],
    ["read before it to unread", "15", "30", 2, ["delete"]],
    ["held to unread", "15", "30", 1, []],
    ["unread", "30", "31", 2, []],
    ["NULL to told", null, "5", 1, ["insert"]],
  ] as const;
  test.each(moves)("a line that moves: %s", async (_, from, to, number, kinds) => {
    const { lines, settle } = setUp("full");
    const moved = change("update", lines, 1, ["1", from, "x"], ["1", to, UNKNOWN]);
    const { told, images } = await settle(number, moved);
    expect(told.map(([kind]) => kind)).toEqual(kinds);
    // What the log leaves out is in the old row, whichever side is told.
    for (const [, , after] of told) if (after !== undefined) expect(after).toEqual(["1", to, "x"]);
    expect(images).toEqual([]);
  });
});

describe("with kept images", () => {
  test("a line without an image lay in an order that has yet to be read", async () => {
    const { lines, settle } = setUp("default");
    const deleted = change("delete", lines, 1, ["1", UNKNOWN, UNKNOWN], undefined);
    expect(await settle(2, deleted)).toEqual({ told: [], images: [] });
    const moved = change("update", lines, 1, undefined, ["1", "5", "x"]);
    expect(await settle(2, moved)).toEqual({
      told: [["insert", undefined, ["1", "5", "x"]]],
      images: [["1", "5"]],
    });
  });

  test("a line that was told goes on by its image, and leaves it with its order", async () => {
    const { lines, settle } = setUp("default", { 1: ["1", "5", "x"] });
    const changed = change("update", lines, 1, undefined, ["1", "30", UNKNOWN]);
    expect(await settle(2, changed)).toEqual({
      told: [["delete", ["1", "5", "x"], undefined]],
      images: [["1", undefined]],
    });
  });

  test("an image of a line that was read ahead says nothing of what was before", async () => {
    const { lines, settle } = setUp("default", { 1: ["1", "15", "newer"] });
    const changed = change("update", lines, 1, undefined, ["1", "5", UNKNOWN]);
    const { told, images } = await settle(1, changed);
    // The value that the log left out is not the newer one: the change is parked, not guessed at.
    expect(told).toEqual([["insert", undefined, ["1", "5", UNKNOWN]]]);
    expect(images).toEqual([["1", undefined]]);
  });

  test("the image of a line that comes to where it was read ahead goes on with what is left out", async () => {
    const { lines, settle } = setUp("default", { 1: ["1", "5", "x"] });
    const moved = change("update", lines, 1, undefined, ["1", "15", UNKNOWN]);
    const changed = change("update", lines, 2, undefined, ["1", "15", "y"]);
    expect(await settle(1, moved, changed)).toEqual({
      told: [["delete", ["1", "5", "x"], undefined]],
      images: [
        ["1", "15"],
        ["1", "15"],
      ],
    });
  });

  test("an order that is told and has no image is missed, not taken for a new one", async () => {
    const { orders, settle } = setUp("default");
    const changed = change("update", orders, 1, undefined, ["5", "1"]);
    expect((await settle(2, changed)).told).toEqual([["update", undefined, ["5", "1"]]]);
  });
});

describe("where the log carries less than it did when the first chunks were read", () => {
  const keyAlone = ["1", UNKNOWN, UNKNOWN];

  test("a line without an image may have been told: its delete is left to be parked", async () => {
    const { lines, settle } = setUp("default", {}, false);
    const deleted = change("delete", lines, 1, keyAlone, undefined);
    expect(await settle(2, deleted)).toEqual({
      told: [["delete", keyAlone, undefined]],
      images: [["1", undefined]],
    });
  });

  test("and its update is not taken for an insert; where it joins what is yet to be read, only its leaving is parked", async () => {
    const { lines, settle } = setUp("default", {}, false);
    const [here, elsewhere, ahead] = ["5", "30", "15"].map((order) =>
      change("update", lines, 1, undefined, ["1", order, "x"]),
    );
    expect((await settle(2, here!)).told).toEqual([["update", undefined, ["1", "5", "x"]]]);
    expect((await settle(2, elsewhere!)).told).toEqual([["delete", keyAlone, undefined]]);
    expect((await settle(1, ahead!)).told).toEqual([["delete", keyAlone, undefined]]);
  });

  test("a line of which there is an image goes on by it", async () => {
    const { lines, settle } = setUp("default", { 1: ["1", "5", "x"] }, false);
    const deleted = change("delete", lines, 1, keyAlone, undefined);
    expect((await settle(2, deleted)).told).toEqual([["delete", ["1", "5", "x"], undefined]]);
  });

  test("a table that promises whole old rows may break that: a key that is not known is no NULL", async () => {
    const { lines, settle } = setUp("full", {}, false);
    const deleted = change("delete", lines, 1, keyAlone, undefined);
    expect(await settle(2, deleted)).toEqual({
      told: [["delete", keyAlone, undefined]],
      images: [],
    });
    const changed = change("update", lines, 1, undefined, ["1", "5", "x"]);
    expect((await settle(2, changed)).told).toEqual([["update", undefined, ["1", "5", "x"]]]);
    const unclear = change("insert", lines, 1, undefined, ["1", UNKNOWN, "x"]);
    expect((await settle(2, unclear)).told).toEqual([["insert", undefined, ["1", UNKNOWN, "x"]]]);
  });
});
