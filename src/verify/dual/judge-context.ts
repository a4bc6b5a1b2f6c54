import type { DualSettings } from "./settings.ts";
import type { StreamDefinition } from "../../model/mapping-definition.ts";
import type { Folder } from "../../projection/fold.ts";

export interface JudgeContext {
  readonly settings: DualSettings;
  readonly folder: Folder;
  /** The newest mapping that knows a stream type. */
  readonly definitionOf: (streamType: string) => Definition | undefined;
  readonly quarantined: ReadonlySet<string>;
  /** All that was committed in the legacy database by then is in the store. Milliseconds since 1970. */
  readonly capturedToMs: number;
}

export interface Definition {
  readonly version: number;
  readonly stream: StreamDefinition;
}
