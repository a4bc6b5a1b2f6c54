import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createJiti } from "jiti";
import type { Draft } from "../../src/draft/draft.ts";
import { parseConfig, type LoadedConfig } from "../../src/config/load-config.ts";
import type { DatabaseFacts } from "../../src/source/database-facts.ts";
import type { SourceTable } from "../../src/model/table.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";

/** A drafted mapping as a program loads it. */
export interface LoadedDraft extends Disposable {
  readonly config: LoadedConfig;
  /** What `banyan.tables.ts` exports. */
  readonly tables: Readonly<Record<string, unknown>>;
}

const BANYAN = join(import.meta.dirname, "../../src/index.ts");

/** Loads drafted files from a folder that is gone when it is disposed. */
export async function loadDraft(
  drafted: Draft,
  url = "postgres://nobody@localhost/legacy",
): Promise<LoadedDraft> {
  const folder = mkdtempSync(join(tmpdir(), "banyan-draft-"));
  try {
    const file = join(folder, "banyan.config.ts");
    writeFileSync(file, drafted.config ?? "");
    writeFileSync(join(folder, "banyan.tables.ts"), drafted.tables);
    const jiti = createJiti(import.meta.url, {
      alias: { banyan: BANYAN },
      moduleCache: false,
      fsCache: false,
    });
    const exported = await jiti.import(file, { default: true });
    const tables = await jiti.import<Record<string, unknown>>(join(folder, "banyan.tables.ts"));
    return {
      config: parseConfig(exported, file, { LEGACY_URL: url }),
      tables,
      [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** The shapes of a mapping's tables as the catalogue gives them, with the keys that it names. */
export function shapesOf(
  facts: DatabaseFacts,
  streams: Readonly<Record<string, StreamRef>>,
): SourceTable[] {
  const refs = Object.values(streams).flatMap(({ root, children }) => [
    root,
    ...Object.values(children).map(({ table }) => table),
  ]);
  return refs.map(({ name, key }) => {
    const shape = facts.tables.find(({ table }) => table.name === name)!.table;
    return key === undefined
      ? shape
      : {
          ...shape,
          key: key.map((column) => shape.columns.findIndex((one) => one.name === column)),
        };
  });
}
