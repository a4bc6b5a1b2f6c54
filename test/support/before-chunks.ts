import { once } from "node:events";
import { overriding } from "./overriding.ts";
import type { ChangeSource, KeyedTable } from "../../src/source/change-source.ts";

/** A source in which something happens, and is waited for, right before each chunk is opened. */
export function beforeChunks(
  source: ChangeSource,
  act: (tables: readonly KeyedTable[]) => Promise<unknown>,
): ChangeSource {
  return overriding(source, {
    openChunks: (tables) => {
      const reader = source.openChunks(tables);
      return overriding(reader, {
        open: async (signal) => {
          // A run that ends does not wait for it.
          if (!signal.aborted) await Promise.race([act(tables), once(signal, "abort")]);
          return await reader.open(signal);
        },
      });
    },
  });
}
