import { classify } from "./sqlstate.ts";
import { BanyanError } from "../../src/model/errors.ts";

/** Raised by banyan.advance_pipeline. */
const FENCED = "BN001";
const CHECKPOINT_BACK = "BN002";
/** Raised by banyan.guard_authority. */
const AUTHORITY_CHANGED = "BN004";
const UNIQUE_VIOLATION = "23505";

/**
 * Turns what a statement of the store failed with into a {@link BanyanError}: what the store's own
 * constraints and functions say, and for the rest what Postgres says.
 *
 * @param doing what was being tried, for the message
 */
export function classifyStore(error: unknown, doing: string): BanyanError {
  if (error instanceof BanyanError) return error;
  const { code, message } = driverError(error);
  if (code === FENCED) return fenced(error);
  if (code === CHECKPOINT_BACK)
    return new BanyanError("INVARIANT_BROKEN", `${doing}: ${message}`, { cause: error });
  if (code === AUTHORITY_CHANGED) {
    return new BanyanError("AUTHORITY_CHANGED", `${doing}: ${message}`, {
      cause: error,
      hint: "It is tried again, with what is known now.",
    });
  }
  if (isTaken(error, "stream_id")) {
    return new BanyanError(
      "STREAM_VERSION_CONFLICT",
      `${doing}: a stream has moved on since it was read`,
      {
        cause: error,
      },
    );
  }
  if (isTaken(error, "event_id")) {
    return new BanyanError(
      "INVARIANT_BROKEN",
      `${doing}: an event id is in the store already, at another place`,
      {
        cause: error,
      },
    );
  }
  if (message === "Query read timeout") {
    return new BanyanError("STORE_UNREACHABLE", `${doing}: the server did not answer in time`, {
      cause: error,
    });
  }
  if (message === "timeout exceeded when trying to connect") {
    return new BanyanError("STORE_UNREACHABLE", `${doing}: no session was free in time`, {
      cause: error,
      hint: "The server does not answer, or all sessions of this program are busy: ask for less at once, or raise sessionsMax.",
    });
  }
  if (code === "25006") {
    return new BanyanError("STORE_REFUSED", `${doing}: ${message}`, {
      cause: error,
      hint: "The URL leads to a standby or a read-only database; name the primary.",
    });
  }
  if (code === "42501") {
    return new BanyanError("STORE_REFUSED", `${doing}: ${message}`, {
      cause: error,
      hint: "Grant the role in the store's URL what docs/4-operations.md lists; the schema is made by its owner.",
    });
  }
  if (code === "3F000" || code === "42P01") {
    return new BanyanError("STORE_REFUSED", `${doing}: ${message}`, {
      cause: error,
      hint: "The store has not been set up in this database; `banyan run` does that.",
    });
  }
  return classify(error, "store", doing);
}

/** Names of the store's unique constraints. */
const KEYS = {
  stream_id: "events_stream_id_version_key",
  event_id: "events_event_id_key",
  claim: "claims_value_key",
} as const;

/** True when a statement failed because this key is taken. */
export function isTaken(error: unknown, key: keyof typeof KEYS): boolean {
  const { code, message } = driverError(error);
  // The message names the constraint whatever language it is in.
  return code === UNIQUE_VIOLATION && message.includes(KEYS[key]);
}

export function fenced(cause: unknown): BanyanError {
  return new BanyanError(
    "PIPELINE_FENCED",
    "another process has taken over this pipeline; nothing more is written here",
    { cause, hint: "Only one `banyan run` per pipeline; see `banyan status`." },
  );
}

function driverError(error: unknown): { readonly code: string; readonly message: string } {
  const { code, message } = (error ?? {}) as Record<string, unknown>;
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  return { code: text(code), message: text(message) };
}
