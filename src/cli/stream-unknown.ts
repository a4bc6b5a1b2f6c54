import type { LoadedConfig } from "../config/load-config.ts";
import { recordedKeyFault } from "../mapping/canonical-key.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventStore } from "../store/event-store.ts";

/**
 * @returns the error for a stream id that nothing is known of: how its key would be written, where it is
 *   written otherwise, and an example of a good one
 */
export async function streamUnknown(
  stream: string,
  { streams }: Pick<LoadedConfig, "streams">,
  store: Pick<EventStore, "mappings">,
): Promise<BanyanError> {
  const types = Object.keys(streams);
  const fault = recordedKeyFault(await store.mappings(), stream);
  const [why, how] =
    fault === undefined
      ? ["", ""]
      : [`: ${fault}`, " as the database writes it, a numeric without zeros at its end"];
  return new BanyanError("STREAM_UNKNOWN", `there are no events of ${stream}${why}`, {
    hint: `A stream is named by its type (${types.join(", ")}), a dash and its key${how}, e.g. ${types[0]}-1`,
  });
}
