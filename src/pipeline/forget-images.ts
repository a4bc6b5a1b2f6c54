import type { Run } from "./start.ts";
import type { Mapping } from "../mapping/compile.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { BaselineRecord } from "../store/event-store.ts";

/** Images removed in one transaction. */
const IMAGES_PER_COMMIT = 20_000;

/**
 * Removes the kept images of stream types of which all is to be read anew and nothing was yet: they are of
 * before the place in the log was lost. What follows then takes rows without an image for rows that have
 * yet to be read, as in a first baseline.
 *
 * In short transactions; killed anywhere, it is done again, with what is left.
 */
export async function forgetImages(
  { capture, board }: Run,
  mapping: Mapping,
  records: readonly BaselineRecord[],
  signal: AbortSignal,
): Promise<void> {
  for (const { stream: type, gap, chunksRead } of records) {
    if (gap === undefined || chunksRead > 0) continue;
    for (const { tableRef } of mapping.stream(type)!.roles) {
      let after: string | undefined;
      do {
        signal.throwIfAborted();
        after = await capture.forgetImages(tableRef.name, after, IMAGES_PER_COMMIT);
        const status = board.snapshot();
        await capture.commit({ phase: "baseline", checkpoint: undefined, ledger: {}, status });
        failpoint("rebaseline-images-forgotten");
      } while (after !== undefined);
    }
  }
}
