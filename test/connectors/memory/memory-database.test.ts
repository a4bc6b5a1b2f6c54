import { chunksContract } from "../../contract/chunks.contract.ts";
import { MemoryDatabase } from "../../support/memory-database.ts";
import { seededRandom } from "../../support/seeded-random.ts";

chunksContract("the database in memory that properties are tried on", () => {
  const db = new MemoryDatabase("full", seededRandom(7), { transactions: 500, keys: 40 });
  db.isStill = true;
  const keyed = [
    { table: db.parent, columns: [0] },
    { table: db.child, columns: [1] },
  ] as const;
  return Promise.resolve({
    source: db.open(),
    tables: keyed,
    change: () => {
      db.isStill = false;
      while (db.visible().seen.size < 20) db.tick();
      db.isStill = true;
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});
