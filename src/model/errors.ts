/** What the runtime should do with a failed step. Decided once, where the error is classified. */
export type Recovery = "retry" | "operator" | "bug";

/** Exit codes of the CLI. 1 is "ran, and found a difference"; an error never has it. */
export const EXIT = {
  ok: 0,
  findings: 1,
  usage: 2,
  environment: 4,
  bug: 70,
  graceExpired: 75,
  secondSignal: 130,
} as const;

/** Every code has a section in docs/errors.md; test/docs/errors-documented.test.ts keeps the two sets equal. */
export const ERROR_CODES = {
  CONFIG_INVALID: { recovery: "operator", exitCode: EXIT.usage },
  CONFIG_NOT_FOUND: { recovery: "operator", exitCode: EXIT.usage },
  MAPPING_INVALID: { recovery: "operator", exitCode: EXIT.usage },
  USAGE: { recovery: "operator", exitCode: EXIT.usage },

  SOURCE_UNREACHABLE: { recovery: "retry", exitCode: EXIT.environment },
  SOURCE_REFUSED: { recovery: "operator", exitCode: EXIT.environment },
  SOURCE_NOT_READY: { recovery: "operator", exitCode: EXIT.environment },
  SOURCE_CHANGED: { recovery: "operator", exitCode: EXIT.environment },
  PROTOCOL_VIOLATION: { recovery: "retry", exitCode: EXIT.environment },
  PUBLICATION_MISSING: { recovery: "operator", exitCode: EXIT.environment },
  TABLE_MISSING: { recovery: "operator", exitCode: EXIT.environment },
  REPLICA_IDENTITY_UNUSABLE: { recovery: "operator", exitCode: EXIT.environment },
  SLOT_IN_USE: { recovery: "retry", exitCode: EXIT.environment },
  SLOT_LOST: { recovery: "operator", exitCode: EXIT.environment },
  SLOT_AHEAD: { recovery: "operator", exitCode: EXIT.environment },
  SLOT_CREATION_BLOCKED: { recovery: "retry", exitCode: EXIT.environment },
  ADDITION_BLOCKED: { recovery: "retry", exitCode: EXIT.environment },
  TRUNCATE_REFUSED: { recovery: "operator", exitCode: EXIT.environment },

  STORE_UNREACHABLE: { recovery: "retry", exitCode: EXIT.environment },
  STORE_REFUSED: { recovery: "operator", exitCode: EXIT.environment },
  STORE_OCCUPIED: { recovery: "operator", exitCode: EXIT.environment },
  STORE_SCHEMA_NEWER: { recovery: "operator", exitCode: EXIT.environment },
  STREAM_VERSION_CONFLICT: { recovery: "retry", exitCode: EXIT.environment },
  AUTHORITY_CHANGED: { recovery: "retry", exitCode: EXIT.environment },
  AUTHORITY_ELSEWHERE: { recovery: "retry", exitCode: EXIT.environment },
  RESERVED_IDS_EMPTY: { recovery: "retry", exitCode: EXIT.environment },
  VALUE_TAKEN: { recovery: "operator", exitCode: EXIT.environment },
  EVENT_REFUSED: { recovery: "operator", exitCode: EXIT.environment },
  SERVICE_REQUEST_INVALID: { recovery: "operator", exitCode: EXIT.usage },
  PIPELINE_FENCED: { recovery: "operator", exitCode: EXIT.environment },
  PIPELINE_STOPPED: { recovery: "operator", exitCode: EXIT.environment },
  PIPELINE_UNKNOWN: { recovery: "operator", exitCode: EXIT.environment },
  TABLE_NOT_CAPTURED: { recovery: "operator", exitCode: EXIT.environment },
  REVERSE_NOT_READY: { recovery: "operator", exitCode: EXIT.environment },
  EMBEDDED_SERVER_FAILED: { recovery: "operator", exitCode: EXIT.environment },
  SPILL_FAILED: { recovery: "operator", exitCode: EXIT.environment },
  ROLLOUT_BUSY: { recovery: "operator", exitCode: EXIT.environment },
  PROXY_NOT_LISTENING: { recovery: "operator", exitCode: EXIT.environment },
  DEMO_FAILED: { recovery: "operator", exitCode: EXIT.environment },

  VALUE_UNMAPPABLE: { recovery: "operator", exitCode: EXIT.environment },
  SCHEMA_DRIFT: { recovery: "operator", exitCode: EXIT.environment },
  FOREIGN_WRITE: { recovery: "operator", exitCode: EXIT.environment },
  ECHO_UNKNOWN: { recovery: "operator", exitCode: EXIT.environment },
  BEFORE_IMAGE_MISSING: { recovery: "operator", exitCode: EXIT.environment },
  QUARANTINE_FULL: { recovery: "operator", exitCode: EXIT.environment },
  STREAM_UNKNOWN: { recovery: "operator", exitCode: EXIT.environment },

  INVARIANT_BROKEN: { recovery: "bug", exitCode: EXIT.bug },
} as const satisfies Record<string, { recovery: Recovery; exitCode: number }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export type ErrorDetail = Readonly<Record<string, string | number | bigint | boolean>>;

/**
 * The only error class that crosses a module boundary.
 * `detail` holds data (ids, counts, positions) and never secrets or row contents;
 * the underlying failure goes in `cause`, not into the message.
 */
export class BanyanError extends Error {
  override readonly name = "BanyanError";
  readonly code: ErrorCode;
  /** What to run or change next, in one sentence. */
  readonly hint: string | undefined;
  readonly detail: ErrorDetail;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; hint?: string; detail?: ErrorDetail } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.detail = Object.freeze({ ...options.detail });
  }

  get recovery(): Recovery {
    return ERROR_CODES[this.code].recovery;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exitCode;
  }
}

/** Programmer error: crash, never retry. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new BanyanError("INVARIANT_BROKEN", message);
}
