import { existsSync } from "node:fs";
import { relative } from "node:path";
import { expect, test } from "vitest";
import { anchorsOf, localLinks, page, pages, ROOT } from "./markdown.ts";

test("every link inside the documentation leads somewhere", () => {
  const links = pages().flatMap((source) =>
    localLinks(source).map((link) => ({ from: source.file, ...link })),
  );
  expect(links.length).toBeGreaterThan(40);
  const broken = links
    .filter(
      ({ path, anchor }) =>
        !existsSync(path) || (anchor !== "" && !anchorsOf(path).includes(anchor)),
    )
    .map(({ from, path, anchor }) => `${from} → ${relative(ROOT, path)}#${anchor}`);
  expect(broken).toEqual([]);
});

test("the README leads to every page", () => {
  const reached = localLinks(page("README.md")).map(({ path }) => relative(ROOT, path));
  const missing = pages()
    .map(({ file }) => file)
    .filter((file) => file.startsWith("docs/") && !reached.includes(file));
  expect(missing).toEqual([]);
});
