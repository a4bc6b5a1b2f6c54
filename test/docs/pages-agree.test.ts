import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { codeBlocks, page, ROOT, section, tableRows } from "./markdown.ts";

test("the rights of the store's role are those that the newest migration names", () => {
  const folder = join(ROOT, "migrations");
  const named = readdirSync(folder)
    .sort()
    .map((name) => statementsOf(readFileSync(join(folder, name), "utf8").replaceAll(/^--/gm, "")))
    .filter((statements) => statements.length > 0)
    .at(-1);
  const block = codeBlocks(page("docs/4-operations.md")).find(({ code }) =>
    code.includes("GRANT EXECUTE"),
  );
  expect(statementsOf(block!.code)).toEqual(named);
});

test("the table of folders has every folder of src and connectors, in the layers that are enforced", () => {
  const rows = tableRows(section(page("docs/architecture.md"), "Folders").body);
  const documented = new Map(rows.map(([folder, layer]) => [folder!.replaceAll("`", ""), layer!]));
  const enforced = readFileSync(join(ROOT, "test/layers.test.ts"), "utf8");
  for (const root of ["src", "connectors"]) {
    const folders = readdirSync(join(ROOT, root), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
    const told = [...documented.keys()].filter((name) => name.startsWith(`${root}/`));
    expect(told.toSorted()).toEqual(folders.map((name) => `${root}/${name}/`).toSorted());
    if (root === "connectors") continue;
    const layers = folders.map((name) => `${name}: ${documented.get(`src/${name}/`)},`);
    expect(layers.filter((layer) => !enforced.includes(layer))).toEqual([]);
  }
});

/** GRANTs with their white space made even. */
function statementsOf(text: string): readonly string[] {
  return [...text.matchAll(/GRANT [^;]*;/g)].map(([sql]) => sql.replaceAll(/\s+/g, " "));
}
