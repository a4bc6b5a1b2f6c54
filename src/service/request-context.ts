import { randomUUID } from "node:crypto";
import { PendingEffects, type Effect } from "./pending-effects.ts";
import { BanyanError } from "../model/errors.ts";

/** `shadow`: legacy decides, and this service is only asked what it would have done. */
export type RequestMode = "live" | "shadow";

/** What the service knows of a request beside its headers; each wins over what a header says. */
export interface SaidOfRequest {
  /** Who asks. */
  readonly actor?: string;
  /** Why; kept as `metadata.reason` of the events. */
  readonly reason?: string;
  /** The same for every repetition of a request: what it led to is stored once. */
  readonly commandId?: string;
  readonly causationId?: string;
  /** Kept with each event. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Ends the work for a request that nobody waits for. */
  readonly signal?: AbortSignal;
}

/** Headers by lower-case name, as node:http and fastify give them. */
export type RequestHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

const WORD_LENGTH_MAX = 200;

/**
 * What the store library has to know of one request:
 *
 * | header | |
 * |---|---|
 * | `banyan-mode` | `live` when absent; only the proxy sets it, and drops a client's own |
 * | `banyan-correlation` | becomes the correlation id of the events; a new one when absent |
 * | `idempotency-key` | becomes the command id; a new one when absent |
 *
 * @throws BanyanError `SERVICE_REQUEST_INVALID` for a mode that there is not and for ids that are too long
 */
export function requestContext(headers: RequestHeaders, said: SaidOfRequest = {}): RequestContext {
  const mode = word(headers, "banyan-mode") ?? "live";
  if (mode !== "live" && mode !== "shadow") {
    throw invalid(`banyan-mode "${mode}" is neither live nor shadow`);
  }
  return new RequestContext(mode, {
    ...said,
    correlationId: word(headers, "banyan-correlation") ?? randomUUID(),
    commandId: said.commandId ?? word(headers, "idempotency-key") ?? randomUUID(),
  });
}

/** One request, for all that it does to aggregates. Made by {@link requestContext}. */
export class RequestContext {
  readonly mode: RequestMode;
  readonly correlationId: string;
  readonly commandId: string;
  readonly causationId: string | undefined;
  readonly actor: string | undefined;
  readonly reason: string | undefined;
  /** With the reason. */
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  readonly signal: AbortSignal | undefined;
  /** For the library: other aggregates that were looked at, each with the version that was seen first. */
  readonly inputs = new Map<string, number>();
  /** For the library: what {@link effects} has taken. */
  readonly pending: PendingEffects;

  constructor(
    mode: RequestMode,
    said: SaidOfRequest & { readonly correlationId: string; readonly commandId: string },
  ) {
    const { correlationId, commandId, causationId, actor, reason, metadata, signal } = said;
    if (commandId === "" || commandId.length > WORD_LENGTH_MAX) {
      throw invalid(`a command id has 1 to ${WORD_LENGTH_MAX} characters`);
    }
    this.mode = mode;
    this.correlationId = correlationId;
    this.commandId = commandId;
    this.causationId = causationId;
    this.actor = actor;
    this.reason = reason;
    this.metadata = reason === undefined ? metadata : { ...metadata, reason };
    this.signal = signal;
    this.pending = new PendingEffects(mode === "live");
  }

  /**
   * The one switch for what reaches beyond the store: mails, payments, calls of others. It runs after
   * the events of the decision are stored, once, in the order of the calls; never in shadow, for a
   * refusal, for a decision that changed nothing, or for a command that was stored before.
   *
   * What one throws is thrown to whoever made the decision, which is stored all the same; those behind it
   * do not run. A crash between the two leaves it undone: what must happen reads the events instead.
   *
   * @returns when it has run; at once when it waits for the events to be stored
   */
  async effects(effect: Effect): Promise<void> {
    await this.pending.add(effect);
  }
}

function word(headers: RequestHeaders, name: string): string | undefined {
  const value = headers[name];
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string" || value.length > WORD_LENGTH_MAX) {
    throw invalid(`the header ${name} comes once and has at most ${WORD_LENGTH_MAX} characters`);
  }
  return value;
}

function invalid(message: string): BanyanError {
  return new BanyanError("SERVICE_REQUEST_INVALID", message, { hint: "Answer 400." });
}
