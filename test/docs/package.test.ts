import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { pages, ROOT } from "./markdown.ts";

test("the package holds what the program and its hints refer to", () => {
  const listed = execFileSync("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ files }] = JSON.parse(listed) as [{ files: { path: string }[] }];
  const packed = new Set(files.map(({ path }) => path));
  const needed = [
    ...pages().map(({ file }) => file),
    ...readdirSync(join(ROOT, "migrations")).map((name) => `migrations/${name}`),
    // What banyan demo reads at run time.
    "examples/shop-postgres/schema.sql",
    "examples/shop-postgres/audit.sql",
    "examples/shop-postgres/banyan.config.ts",
    "examples/shop-postgres/tables.ts",
  ];
  expect(needed.filter((path) => !packed.has(path))).toEqual([]);
});
