import type { Echo, Intent } from "../../src/model/change.ts";
import { isStorableText } from "../../src/model/storable-text.ts";

/** `pg_logical_emit_message(true, 'banyan', '{"actor": …}')` says who and why. */
export const INTENT_PREFIX = "banyan";
/** Beyond these bounds a message says nothing usable: its metadata stands in every event of the transaction. */
const CONTENT_LENGTH_MAX = 64 * 1024;
const DEPTH_MAX = 32;
/**
 * `pg_logical_emit_message(true, 'banyan.echo', '{"pipeline": …, "stream": …, "version": …}')` says that the
 * transaction brings the rows of a stream to what its events up to that version say.
 */
export const ECHO_PREFIX = "banyan.echo";
/** Marks written by {@link PostgresSource} itself; they carry nothing. The stream tells of them, see ChangeSource.stream. */
export const FENCE_PREFIX = "banyan.fence";

/**
 * Adds what one message says to what the transaction said before; what is said later wins.
 *
 * A message that is no JSON object, or that no event could carry, must not stop the capture of a
 * change that is already committed: it leaves `unparsed: true` in the metadata and no text, because
 * nobody knows what it holds.
 */
export function mergeIntent(earlier: Intent | undefined, content: string): Intent {
  const said = parseObject(content);
  if (said === undefined) return { ...earlier, metadata: { ...earlier?.metadata, unparsed: true } };
  const { actor, correlationId, correlationid, causationId, causationid, ...metadata } = said;
  return {
    ...earlier,
    ...given("actor", actor),
    ...given("correlationId", correlationId ?? correlationid),
    ...given("causationId", causationId ?? causationid),
    metadata: { ...earlier?.metadata, ...metadata },
  };
}

/**
 * What one message says of an echo of this pipeline. Undefined for another pipeline's, and for one that
 * cannot be understood: its changes are then taken for somebody else's.
 */
export function parseEcho(content: string, pipeline: string): Echo | undefined {
  const said = parseObject(content);
  if (said === undefined || said["pipeline"] !== pipeline) return undefined;
  const { stream, version } = said;
  if (typeof stream !== "string" || !Number.isSafeInteger(version)) return undefined;
  return { stream, version: version as number };
}

/** Identifiers may come as numbers; anything else but text says nothing usable. */
function given<Name extends string>(name: Name, value: unknown): { readonly [K in Name]?: string } {
  if (typeof value !== "string" && typeof value !== "number") return {};
  return { [name]: String(value) } as { readonly [K in Name]: string };
}

function parseObject(content: string): Record<string, unknown> | undefined {
  if (content.length > CONTENT_LENGTH_MAX) return undefined;
  try {
    const value: unknown = JSON.parse(content);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject && isStorable(value, 1) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function isStorable(value: unknown, depth: number): boolean {
  if (typeof value === "string") return isStorableText(value);
  if (typeof value !== "object" || value === null) return true;
  if (depth > DEPTH_MAX) return false;
  return Object.entries(value).every(
    ([key, item]) => isStorableText(key) && isStorable(item, depth + 1),
  );
}
