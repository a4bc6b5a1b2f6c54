import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "./markdown.ts";

const GAUGE = /(?:gauge|counter)\(\s*"(\w+)"/g;

/** Names that the two programs give their figures. */
function names(file: string, prefix: string): readonly string[] {
  const code = readFileSync(join(ROOT, file), "utf8");
  const made = [...code.matchAll(GAUGE)].flatMap(([, name]) => [
    `${prefix}_${name}`,
    `${prefix}_${name}_total`,
  ]);
  const whole = [...code.matchAll(/name: "(banyan_\w+)"/g)].map(([, name]) => name!);
  return [...made, ...whole, ...whole.map((name) => `${name}_bucket`)];
}

test("alerts ask for figures that there are", () => {
  const rules = readFileSync(join(ROOT, "docs/prometheus-rules.yml"), "utf8");
  const known = new Set([
    ...names("src/cli/metrics.ts", "banyan"),
    ...names("src/proxy/metrics.ts", "banyan_proxy"),
  ]);
  const expressions = [...rules.matchAll(/expr: (.*(?:\n {10,}.*)*)/g)].map(([, text]) => text!);
  const asked = expressions.flatMap((text) =>
    [...text.matchAll(/\bbanyan_\w+/g)].map(([name]) => name),
  );
  expect(asked.length).toBeGreaterThan(5);
  expect(asked.filter((name) => !known.has(name))).toEqual([]);
});
