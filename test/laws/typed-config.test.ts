import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

/*
 * A config is typed by its tables: what is misspelt or impossible is an error of the compiler, in the
 * line where it stands. The lines that must be refused end in `// wrong`.
 */

const ROOT = resolve(import.meta.dirname, "../..");

const HEAD = `import { becomes, changed, changes, child, defineMigration, deleted, env, inserted, is, stream, table, updated, was } from "banyan";
const orders = table<{ id: string; status: "placed" | "paid"; total: string; paid: boolean; note: string | null }>("orders");
const lines = table<{ order_id: string; no: number; sku: string }>("lines");
`;

const config = (streams: string): string => `${HEAD}
export default defineMigration({
  name: "shop",
  source: { kind: "postgres", url: env("SHOP_URL") },
  streams: {
${streams}
  },
});
`;

const events = (rules: string): string =>
  config(`order: stream(orders, { otherwise: "OrderAmended", events: {\n${rules}\n} }),`);

const CONFIGS: Readonly<Record<string, string>> = {
  "a right one": config(`
    order: stream(orders, {
      children: { lines: child(lines, { order_id: "id" }) },
      validTime: "note",
      events: {
        Placed: inserted(orders, { with: [lines], when: { paid: is(false) } }),
        Paid: updated(orders, { status: becomes("paid"), note: changes() }, { data: ["total"], where: (now, was) => now.paid && !was.paid }),
        Repriced: updated(orders, changed("total"), {
          transform: { columns: ["total"], to: (now) => ({ euros: now.total }), from: (data) => ({ total: String(data["euros"]) }) },
        }),
        Unset: updated(orders, { note: becomes(null, "") }),
        Undone: updated(orders, { status: was("paid") }),
        Removed: deleted(orders, { where: (row) => row.note !== null }),
      },
      otherwise: "OrderAmended",
    }),`),
  "a misspelt column in a condition": events(`
    Paid: updated(orders, { statsu: becomes("paid") }), // wrong
    Noted: updated(orders, { note: changes() }),`),
  "a value that the column does not have": events(`
    Paid: updated(
      orders,
      { status: becomes("paied") }, // wrong
    ),`),
  "a number where the database has text": events(`
    Free: updated(orders, { total: becomes(0) }), // wrong`),
  "a text where the database has true or false": events(`
    Paid: updated(orders, { paid: becomes("true") }), // wrong`),
  "NULL for a column that is never NULL": events(`
    Lost: deleted(orders, { when: { total: is(null) } }), // wrong`),
  "a misspelt column in changed()": events(`
    Repriced: updated(orders, changed("totl")), // wrong`),
  "a misspelt column in data": events(`
    Paid: updated(orders, { status: becomes("paid") }, { data: ["total", "paid_at"] }), // wrong`),
  "a condition in code on a column that there is not": events(`
    Paid: updated(orders, { status: becomes("paid") }, {
      where: (now) => now.total !== "0" && now.city === "x", // wrong
    }),`),
  "a condition in code that gives no truth": events(`
    Big: inserted(orders, { where: (row) => row.total }), // wrong`),
  "a function without its inverse": events(`
    Repriced: updated(orders, changed("total"), {
      transform: { columns: ["total"], to: (now) => ({ euros: now.total }) }, // wrong
    }),`),
  "an inverse that gives another type": events(`
    Repriced: updated(orders, changed("total"), {
      transform: {
        columns: ["total"],
        to: (now) => ({ cents: Number(now.total) * 100 }),
        from: (data) => ({ total: Number(data["cents"]) / 100 }), // wrong
      },
    }),`),
  "a child linked by a column that it does not have": config(`
    order: stream(orders, {
      children: { lines: child(lines, { orderId: "id" }) }, // wrong
      otherwise: "OrderAmended",
    }),`),
  "a valid time that is no column": config(`
    order: stream(orders, {
      validTime: "updated_at", // wrong
      otherwise: "OrderAmended",
    }),`),
  "a stream without a fallback": config(`
    order: stream(orders, { events: {} }), // wrong`),
  "a key that is no column": `${HEAD}
export const log = table<{ at: string; text: string }>("log", { key: ["at", "txt"] }); // wrong`,
  "a setting that there is not": `${HEAD}
export default defineMigration({
  name: "shop",
  source: { kind: "postgres", url: env("SHOP_URL"), slots: "x" }, // wrong
  streams: { order: stream(orders, { otherwise: "OrderAmended" }) },
});
export const used = [becomes, changed, changes, child, deleted, inserted, is, lines, updated, was];`,
};

const nameOf = (i: number): string => `config-${i}.ts`;
const found = new Map<string, number[]>();
const messages: string[] = [];
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "banyan-typed-"));
  Object.values(CONFIGS).forEach((text, i) => writeFileSync(join(folder, nameOf(i)), text));
  const compilerOptions = {
    rootDir: "/",
    paths: { banyan: [join(ROOT, "src/index.ts")] },
    typeRoots: [join(ROOT, "node_modules/@types")],
    // The head has all words, whichever a config uses.
    noUnusedLocals: false,
  };
  const project = {
    extends: join(ROOT, "tsconfig.json"),
    compilerOptions,
    include: ["config-*.ts"],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const tsc = join(ROOT, "node_modules/.bin/tsc");
  const { stdout } = await promisify(execFile)(tsc, ["-p", folder, "--pretty", "false"], {
    maxBuffer: 16 * 1024 * 1024,
    timeout: 100_000,
  }).catch((error: unknown) => error as { stdout: string });
  for (const line of stdout.split("\n")) {
    const [, file, at] = /(config-\d+\.ts)\((\d+),\d+\): error /.exec(line) ?? [];
    if (file !== undefined) found.set(file, [...(found.get(file) ?? []), Number(at)]);
    else if (/: error /.test(line)) messages.push(line);
  }
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("nothing else is wrong", () => {
  expect(messages).toEqual([]);
});

test.each(Object.keys(CONFIGS))("%s", (title) => {
  const wrong = CONFIGS[title]!.split("\n").flatMap((line, i) =>
    line.endsWith("// wrong") ? [i + 1] : [],
  );
  expect(wrong.length).toBe(title === "a right one" ? 0 : 1);
  const lines = found.get(nameOf(Object.keys(CONFIGS).indexOf(title))) ?? [];
  expect([...new Set(lines)]).toEqual(wrong);
});
