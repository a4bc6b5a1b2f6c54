import { expect, test } from "vitest";
import { routeNotes, uniquenessNotes } from "../../src/rollout/route-notes.ts";

const route = (path: string, kind: "read" | "write" | "create", more: object = {}) => ({
  methods: ["POST"],
  path,
  stream: "order",
  kind,
  ...more,
});

test("requests that name no aggregate are told with what becomes of them, others are not", () => {
  const notes = routeNotes("order", [
    route("/orders/:id", "write", { id: { path: "id" } }),
    route("/search", "read"),
    route("/merge", "write"),
    route("/orders", "create"),
    route("/copies", "create", { created: { json: "id" } }),
    { ...route("/others", "write"), stream: "other" },
  ]);
  expect(notes.map(({ about, says }) => `${about}: ${says.split(/[:,]/)[0]!}`)).toEqual([
    "POST /search: names no aggregate",
    "POST /merge: names no aggregate",
    "POST /orders: does not say where legacy's answer has the new id (created)",
    "POST /copies: at canary the side is drawn by chance",
  ]);
});

test("a type without routes, or without one that writes, is told", () => {
  expect(routeNotes("order", [])[0]!.says).toContain("no route of the proxy is about order");
  const reads = [route("/orders/:id", "read", { id: { path: "id" } })];
  expect(routeNotes("order", reads).map(({ says }) => says)).toEqual([
    "no route writes: where are the writes?",
  ]);
});

test("who keeps a rule over several aggregates depends on how far they have moved", () => {
  const keys = [{ table: "public.customers", text: "lower(email)" }];
  expect(uniquenessNotes(keys, "canary")).toEqual([
    {
      about: "public.customers (lower(email))",
      says: expect.stringContaining("let the service wait for its row") as string,
    },
  ]);
  expect(uniquenessNotes(keys, "new")[0]!.says).toContain("behind complete nobody does");
});
