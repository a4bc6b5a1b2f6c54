import { expect, test } from "vitest";
import { page, section, tableRows } from "./markdown.ts";
import { REFUSALS } from "../../src/proxy/refusal.ts";
import { sideOf } from "../../src/rollout/side.ts";
import { STAGES } from "../../src/rollout/stage.ts";

const PAGE = page("docs/6-proxy.md");
const plain = (cell: string): string => cell.replaceAll("`", "");

test("the page has every refusal of the proxy with its status, and no other", () => {
  const rows = tableRows(section(PAGE, "Refusals").body);
  const documented = rows.map(([reason, status]) => [plain(reason!), Number(status)]);
  expect(Object.fromEntries(documented)).toEqual(REFUSALS);
  expect(documented).toHaveLength(Object.keys(REFUSALS).length);
});

test("the page says of each stage who answers", () => {
  const rows = tableRows(section(PAGE, "Who answers").body);
  expect(rows.map(([stage]) => plain(stage!))).toEqual([...STAGES]);
  for (const [stage, read, write] of rows) {
    const of = (kind: "read" | "write", bucket: number): string =>
      sideOf(plain(stage!) as (typeof STAGES)[number], 100, bucket, kind);
    const told = (cell: string): readonly string[] =>
      cell === "new for the share" ? ["new", "legacy"] : [cell, cell];
    expect([of("read", 1), of("read", 101)], stage).toEqual(told(read!));
    expect([of("write", 1), of("write", 101)], stage).toEqual(told(write!));
  }
});
