import type { LoadedConfig } from "../config/load-config.ts";
import { BanyanError } from "../model/errors.ts";

/** @returns the error for a stream id that nothing is known of, with an example of a good one */
export function streamUnknown(stream: string, config: LoadedConfig): BanyanError {
  const types = Object.keys(config.streams);
  return new BanyanError("STREAM_UNKNOWN", `there are no events of ${stream}`, {
    hint: `A stream is named by its type (${types.join(", ")}), a dash and its key, e.g. ${types[0]}-1`,
  });
}
