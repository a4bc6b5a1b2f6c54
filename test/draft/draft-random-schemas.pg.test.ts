import fc from "fast-check";
import { expect, test } from "vitest";
import { captureDraft, surveyOf } from "./drafted-capture.ts";
import { randomNumbers, writeRandomly } from "./random-traffic.ts";
import { onSession } from "../connectors/postgres/source-support.ts";
import { createDatabase } from "../support/databases.ts";
import { budget } from "../support/random-budget.ts";
import { randomSchema } from "../support/random-schema.ts";
import { randomDdl } from "../support/random-sql.ts";
import { draft } from "../../src/draft/draft.ts";

const RUN_MS_MAX = 60_000;
const RUNS = 8;
const ROUNDS_MAX = 5;

const world = randomSchema({ childrenMax: 3 }).chain((schema) =>
  fc.record({ schema: fc.constant(schema), ddl: randomDdl(schema), seed: fc.nat() }),
);

test(
  "of any schema the draft is captured as it is, and stays equal under random traffic",
  async () => {
    let children = 0;
    let rows = 0;
    const property = fc.asyncProperty(world, async ({ schema, ddl, seed }) => {
      await using db = await createDatabase("draft random");
      await onSession(db.url, ddl);
      const facts = await surveyOf(db.url);
      const random = randomNumbers(seed);
      await writeRandomly(db.url, facts, 10, random);
      // Whatever is judged of tables that nobody has ever used.
      const tables = facts.tables.map(({ table }) => table.name);
      const drafted = draft(await surveyOf(db.url), { tables });
      expect(drafted.leftOut).toEqual([]);
      await using run = await captureDraft(db, drafted);
      await run.capture.catchUp();
      await writeRandomly(db.url, facts, 25, random);
      await run.capture.catchUp();
      expect(await run.capture.store.quarantine.list()).toEqual([]);
      const count = await run.rowCount();
      expect(await run.capture.verify()).toMatchObject({ state: "equal", compared: count });
      children += drafted.aggregates.reduce((sum, one) => sum + one.children.length, 0);
      rows += count;
      expect(schema.tables).toHaveLength(tables.length);
    });
    // Few schemas may happen to have no children that belong to their roots: then some more are drawn.
    for (let round = 0; children === 0 && round < ROUNDS_MAX; round++)
      await fc.assert(property, { ...budget(RUNS), interruptAfterTimeLimit: RUN_MS_MAX * 20 });
    expect(children).toBeGreaterThan(0);
    expect(rows).toBeGreaterThan(10);
  },
  RUN_MS_MAX * 25,
);
