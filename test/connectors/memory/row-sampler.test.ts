import { openMemoryRowSampler } from "../../../connectors/memory/row-sampler.ts";
import { FILLED, MOODS, rowSamplerContract } from "../../contract/row-sampler.contract.ts";
import { shape } from "../../support/mapping-fixtures.ts";

rowSamplerContract("memory", async () => ({
  sampler: openMemoryRowSampler({
    rows: new Map([
      ["public.filled", FILLED],
      ["public.empty", []],
    ]),
    columns: new Map([["public.filled", new Map([["mood", { allowed: MOODS }]])]]),
    refuses: (table, row) =>
      table === "public.filled" && row[2] === "secret" ? "no_secret" : undefined,
  }),
  shapeOf: (relation) => shape(`public.${relation}`, "*id:int4 mood note"),
  [Symbol.asyncDispose]: async () => {},
}));
