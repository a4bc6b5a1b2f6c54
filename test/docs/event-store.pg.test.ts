import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { codeBlocks, page, section, tableRows } from "./markdown.ts";
import { documentedShape } from "./json-shape.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";

const PAGE = page("docs/5-event-store.md");
const sqlWith = (text: string): string =>
  codeBlocks(PAGE).find(({ language, code }) => language === "sql" && code.includes(text))!.code;

test("the statements of the page read events in order", async () => {
  await using opened = await openTestStore("docs_read");
  const { store, database } = opened;
  for (const stream of ["ticket-1", "ticket-2", "ticket-1"]) {
    const event = { id: randomUUID(), type: "Noted", data: { stream } };
    await store.append(stream, [event], "any");
  }
  const next = sqlWith("the next thousand events").replace("LIMIT 1000", "LIMIT 2");
  const seen: string[] = [];
  let after: readonly unknown[] = ["0", "0"];
  for (let pages = 0; pages < 5; pages++) {
    const { rows } = await database.query(next, [...after]);
    for (const row of rows as {
      transaction_id: string;
      position: string;
      stream_id: string;
      version: number;
    }[]) {
      seen.push(`${row.stream_id} ${row.version}`);
      after = [row.transaction_id, row.position];
    }
  }
  expect(seen).toEqual(["ticket-1 1", "ticket-2 1", "ticket-1 2"]);
  const { rows } = await database.query(sqlWith("banyan.cloudevents"));
  expect(rows.map(({ type }: { type: string }) => type)).toEqual(["Noted", "Noted"]);
});

test("the page names every table, and every column of the CloudEvents view", async () => {
  await using opened = await openTestStore("docs_tables");
  const { rows: tables } = await opened.database.query(
    "SELECT format('%s.%s', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'banyan'",
  );
  const documented = tableRows(section(PAGE, "Tables").body).map(([name]) =>
    name!.replaceAll("`", ""),
  );
  expect(documented.toSorted()).toEqual(
    (tables as { name: string }[]).map(({ name }) => name).toSorted(),
  );
  const { rows: columns } = await opened.database.query(
    "SELECT attname AS name FROM pg_attribute WHERE attrelid = 'banyan.cloudevents'::regclass AND attnum > 0",
  );
  const told = section(PAGE, "CloudEvents").body;
  const unnamed = (columns as { name: string }[]).filter(
    ({ name }) => !told.includes(`\`${name}\``),
  );
  expect(unnamed).toEqual([]);
});

test("the page explains every field that history prints", () => {
  const fields = [...documentedShape("history").leaves.keys()].flatMap(
    (path) => /^events\[\]\.(\w+)$/.exec(path)?.[1] ?? [],
  );
  const explained = tableRows(section(PAGE, "An event").body).flatMap(([cell]) =>
    [...cell!.matchAll(/`(\w+)`/g)].map(([, name]) => name!),
  );
  expect(explained.toSorted()).toEqual(fields.toSorted());
});
