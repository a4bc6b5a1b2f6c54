import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { page, ROOT, sections } from "./markdown.ts";
import { ERROR_CODES, type ErrorCode } from "../../src/model/errors.ts";

const documented = sections(page("docs/errors.md")).filter(({ level }) => level === 3);
const codes = Object.keys(ERROR_CODES) as ErrorCode[];

test("every error code has a section, and every section a code", () => {
  const titles = documented.map(({ title }) => title);
  expect(titles.toSorted()).toEqual(codes.toSorted());
});

test.each(codes)("the section of %s says what happened, what to do, and how it ends", (code) => {
  const { recovery, exitCode } = ERROR_CODES[code];
  const body = documented.find(({ title }) => title === code)!.body.trim();
  const how = { retry: "Retries", operator: "Stops", bug: "A bug" }[recovery];
  expect(body.split("\n")[0]).toBe(`${how}, exit code ${exitCode}.`);
  expect(body).toMatch(/\*\*What happened\.\*\* \S/);
  expect(body).toMatch(/\*\*What to do\.\*\* \S/);
});

test("every error code is raised somewhere", () => {
  const sources = ["src", "connectors"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.endsWith("model/errors.ts"))
      .map((name) => readFileSync(join(ROOT, folder, name), "utf8")),
  );
  const text = sources.join("\n");
  expect(codes.filter((code) => !text.includes(`"${code}"`))).toEqual([]);
});
