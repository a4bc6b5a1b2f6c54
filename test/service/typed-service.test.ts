import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

/*
 * A service is typed by its config: what the rules do not say is an error of the compiler, in the line
 * where it stands. The lines that must be refused end in `// wrong`.
 */

const ROOT = resolve(import.meta.dirname, "../..");

const HEAD = `import { becomes, changes, child, defineMigration, deleted, env, inserted, openAggregates, requestContext, stream, table, updated } from "banyan";
const orders = table<{ id: string; status: "placed" | "paid"; total: string; note: string | null }>("orders");
const lines = table<{ order_id: string; no: number; sku: string | null }>("lines");
const refunds = table<{ order_id: string; amount: string }>("refunds");
const config = defineMigration({
  name: "shop",
  source: { kind: "postgres", url: env("SHOP_URL") },
  streams: {
    order: stream(orders, {
      children: { lines: child(lines, { order_id: "id" }), refunds: child(refunds, { order_id: "id" }) },
      events: {
        Placed: inserted(orders, { with: [lines] }),
        Paid: updated(orders, { status: becomes("paid") }),
        Noted: updated(orders, { note: changes() }),
        Removed: deleted(orders),
        LineAdded: inserted(lines),
      },
      otherwise: "OrderAmended",
    }),
    bare: stream(orders, { otherwise: "BareAmended" }),
  },
});
export const shop = await openAggregates({ store: "postgres://x", pipeline: config.name, streams: config.streams });
export const orderings = shop.aggregates("order");
export const { Placed, Paid, Noted, Removed, LineAdded } = orderings.events;
export const context = requestContext({}, { actor: "Ada" });
`;

const BODIES: readonly string[] = [
  // What a service may say.
  `await orderings.execute(context, "1", (order, version) => {
  if (order === undefined || order.status !== "placed" || version > 9) return [];
  const skus: (string | null)[] = order.lines.map(({ sku }) => sku);
  const amounts: string[] = order.refunds.map(({ amount }) => amount);
  return [Paid(), Noted({ note: [...skus, ...amounts].join() }), LineAdded({ order_id: order.id, no: 2 }), Removed(), orderings.become({ ...order, total: "1" }), orderings.become(undefined)];
});
await orderings.create(context, async (id) => [Placed({ id, status: "placed", total: "1", lines: [{ order_id: id, no: 1 }] })]);
const { state } = await orderings.load("1");
export const total: string | undefined = state?.total;
await shop.aggregates("bare").load("1");
await orderings.newRowId(context, "lines");`,
  // What it may not.
  `shop.aggregates("ordr"); // wrong
orderings.events.Payed(); // wrong
Paid({ stauts: "paid" }); // wrong
Paid({ status: "payed" }); // wrong
Noted({ note: 5 }); // wrong
Placed({ id: "1", status: "placed" }); // wrong
Placed(); // wrong
Placed({ id: "1", status: "placed", total: "1", refunds: [] }); // wrong
Placed({ id: "1", status: "placed", total: "1", lines: [{ order_id: "1", sku: "a" }] }); // wrong
LineAdded({ order_id: "1", no: "2" }); // wrong
orderings.become({ id: "1", status: "paid" }); // wrong
await orderings.newRowId(context, "liens"); // wrong
(await orderings.load("1")).state?.totl; // wrong
await orderings.execute(context, "1", () => [{ type: "Paid" }]); // wrong
await orderings.execute({}, "1", () => []); // wrong
shop.aggregates("bare").events["Paid"]; // wrong
(await shop.aggregates("bare").load("1")).state?.["lines"]; // wrong`,
];

test(
  "what the config does not say does not compile, and what it says does",
  { timeout: 120_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "banyan-typed-service-"));
    try {
      const texts = BODIES.map((body) => `${HEAD}${body}\n`);
      texts.forEach((text, i) => writeFileSync(join(folder, `service-${i}.ts`), text));
      const compilerOptions = {
        rootDir: "/",
        paths: { banyan: [join(ROOT, "src/index.ts")] },
        typeRoots: [join(ROOT, "node_modules/@types")],
      };
      const project = { extends: join(ROOT, "tsconfig.json"), compilerOptions, include: ["*.ts"] };
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
      writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
      const tsc = join(ROOT, "node_modules/.bin/tsc");
      const { stdout } = await promisify(execFile)(tsc, ["-p", folder, "--pretty", "false"]).catch(
        (error: unknown) => error as { stdout: string },
      );
      const found = stdout.split("\n").filter((line) => line.includes("): error "));
      const foundLines = new Set(found.map((line) => /([^/]*\.ts\(\d+)/.exec(line)![1]!));
      const wrong = texts.flatMap((text, i) =>
        text
          .split("\n")
          .flatMap((line, n) => (line.endsWith("// wrong") ? [`service-${i}.ts(${n + 1}`] : [])),
      );
      expect(wrong).toHaveLength(17);
      expect([...foundLines].sort(), found.join("\n")).toEqual(wrong.toSorted());
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
