import { expect, test } from "vitest";
import { codeBlocks, page, type CodeBlock } from "./markdown.ts";
import { difference } from "./terminal.ts";
import { Walk } from "./walk.ts";

const GETTING_STARTED = page("docs/1-getting-started.md");

test("getting started: everything it says happens as it says", async () => {
  await using walk = await Walk.begin();
  // What removes the slot again comes after the last command.
  const blocks = codeBlocks(GETTING_STARTED);
  for (const block of blocks.slice(0, -1)) await walk.block(block);
  expect(walk.problems).toEqual([]);
});

test("mapping: every example gives the events that the page shows", async () => {
  await using walk = await Walk.begin();
  await walk.page(page("docs/3-mapping.md"));
  expect(walk.problems).toEqual([]);
});

test("operations: roles, a job, status and quarantine are as the page shows", async () => {
  await using walk = await Walk.begin();
  const blocks = codeBlocks(GETTING_STARTED);
  const own = (like: string, text: string): CodeBlock =>
    blocks.find(({ language, code }) => language === like && code.includes(text))!;
  await walk.block(own("sql", "CREATE TABLE tickets"));
  await walk.block(own("sql", "CREATE PUBLICATION"));
  const config = own("ts", "defineMigration({");
  const store = 'store: { kind: "postgres", url: env("EVENTS_URL") },\n  streams: {';
  await walk.block({ ...config, code: config.code.replace("streams: {", store) });
  await walk.page(page("docs/4-operations.md"));
  expect(walk.problems).toEqual([]);
});

test("the README shows what getting started shows", () => {
  const shown = new Set(codeBlocks(GETTING_STARTED).map(({ code }) => code));
  const own = codeBlocks(page("README.md")).filter(
    ({ language }) => language === "console" || language === "ts",
  );
  expect(own.length).toBeGreaterThan(2);
  expect(own.filter(({ code }) => !shown.has(code)).map(({ line }) => line)).toEqual([]);
});

test("a difference between a page and a terminal is found", () => {
  const printed = { stdout: "a 1\nb\nc at 0000000001B95B38/00000000\n", stderr: "progress\n" };
  expect(difference(["a 1", "b", "c at 0000000000000000/00000000"], printed)).toBeUndefined();
  expect(difference(["progress", "a 1", "…"], printed)).toBeUndefined();
  expect(difference(["…", "c at 0000000000000000/00000000"], printed)).toBeUndefined();
  expect(difference(["a 1", "b"], printed)).toMatch(/more than shown/);
  expect(difference(["a 2", "…"], printed)).toMatch(/not printed: a 2/);
  expect(difference(["…", "d"], printed)).toMatch(/not printed: d/);
});
