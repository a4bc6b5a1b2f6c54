import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { page, ROOT } from "./markdown.ts";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  s: 1_000,
  min: 60_000,
  h: 3_600_000,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
const ROW = /^\|[^|]+\| ([\d,.]+) ?(\w*) \| `([^`]+)` `([A-Z_0-9]+)` \|$/gm;

/** A constant's value, written as digits, a product, a power or a shift. */
function constantOf(file: string, name: string): number {
  const code = readFileSync(join(ROOT, file), "utf8");
  const written = new RegExp(`const ${name} = ([^;]+);`).exec(code)?.[1]?.replaceAll("_", "");
  const parts = /^(\d+(?:\.\d+)?)(?: (\*\*|<<|\*) (\d+)(?: \* (\d+))?)?(?: - (\d+))?$/.exec(
    written ?? "",
  );
  if (parts === null) throw new Error(`${file} has no constant ${name} that can be read`);
  const [first, second, third, less] = [1, 3, 4, 5].map((i) => Number(parts[i] ?? Number.NaN));
  const product = (): number => first! * second! * (parts[4] === undefined ? 1 : third!);
  const value =
    parts[2] === undefined
      ? first!
      : parts[2] === "*"
        ? product()
        : parts[2] === "**"
          ? first! ** second!
          : first! << second!;
  return value - (parts[5] === undefined ? 0 : less!);
}

test("every constant on the page of limits has the value that the code gives it", () => {
  const rows = [...page("docs/limits.md").text.matchAll(ROW)];
  expect(rows.length).toBeGreaterThan(20);
  const wrong = rows
    .map(([, value, unit, file, name]) => ({
      name: `${file} ${name}`,
      said: Number(value!.replaceAll(",", "")) * UNITS[unit!]!,
      is: constantOf(file!, name!),
    }))
    .filter(({ said, is }) => said !== is);
  expect(wrong).toEqual([]);
});
