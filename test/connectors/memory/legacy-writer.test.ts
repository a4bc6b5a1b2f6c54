import { memoryLegacyWriter, type MemoryLegacy } from "../../../connectors/memory/legacy-writer.ts";
import { legacyWriterContract } from "../../contract/legacy-writer.contract.ts";

legacyWriterContract("memory", () => {
  const legacy: MemoryLegacy = { rows: new Map(), applied: new Map() };
  const writer = memoryLegacyWriter(legacy);
  return Promise.resolve({
    writer,
    rows: (table) =>
      Promise.resolve(
        [...(legacy.rows.get(table)?.values() ?? [])].toSorted(
          (a, b) => Number(a["id"]) - Number(b["id"]),
        ),
      ),
    put: (table, row) => {
      const rows = legacy.rows.get(table) ?? new Map();
      legacy.rows.set(table, rows.set(row["id"]!, row));
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => writer.close(),
  });
});
