import { BanyanError, type ErrorCode } from "../../src/model/errors.ts";
import { lostPlaceHint } from "./new-baseline.ts";

/** Whose connection failed: the legacy database or the event store. Decides the prefix of the code. */
export type Side = "source" | "store";

/** What of a driver error is looked at. `code` is an SQLSTATE, a system error name or a TLS error name. */
interface DriverError {
  readonly code: string;
  readonly message: string;
  readonly routine: string;
}

interface Verdict {
  /** `unreachable`: worth another try, nothing was wrong with what was asked. */
  readonly kind: "unreachable" | "refused" | ErrorCode;
  readonly hint: string | undefined;
}

const LATER = "The server is starting, stopping or out of reach; it is tried again.";

/**
 * SQLSTATEs, with the reason for each verdict. Whatever is not here is `refused`: an error that
 * nobody thought about must not be repeated for ever.
 *
 * @see https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const BY_SQLSTATE: Readonly<Record<string, Verdict>> = {
  // The server went away, restarts, or ended our session for reasons of its own.
  "08000": unreachable(LATER),
  "08001": unreachable(LATER),
  "08003": unreachable(LATER),
  "08006": unreachable(LATER),
  "57P01": unreachable(LATER),
  "57P02": unreachable(LATER),
  "57P03": unreachable(LATER),
  "57P05": unreachable("idle_session_timeout ended the session; it is opened again."),
  "25P03": unreachable(
    "idle_in_transaction_session_timeout ended the transaction; raise it for this role.",
  ),
  // Somebody else's work stood in the way for a moment.
  "40001": unreachable(undefined),
  "40P01": unreachable(undefined),
  "55P03": unreachable(
    "A lock was not granted in time; look for long transactions in pg_stat_activity.",
  ),
  "57014": unreachable(
    "A timeout or another session cancelled the statement; see statement_timeout.",
  ),
  "53300": unreachable("Raise max_connections (or max_wal_senders) or close other sessions."),
  // Full disks and memory limits do not mend themselves: say so instead of hammering on.
  "53100": refused("Make room on the disk of the database server."),
  "53200": refused("The database server ran out of memory."),
  "53400": refused(
    "A configured limit of the server is reached: max_replication_slots or max_wal_senders.",
  ),
  "28P01": refused("Check the password in the URL."),
  "28000": refused(
    "Check the user in the URL and pg_hba.conf (replication connections match the database, not `replication`).",
  ),
  "3D000": refused("Check the database name in the URL."),
  "42501": refused(
    "Grant the missing right to the role in the URL; `banyan check` prints the SQL.",
  ),
};

/** Only a source has slots, publications and tables of its own that can be missing. */
const BY_SQLSTATE_SOURCE: Readonly<Record<string, Verdict>> = {
  "55006": {
    kind: "SLOT_IN_USE",
    hint: "Another reader holds the slot; stop it, or wait until it ends.",
  },
  "42P01": { kind: "TABLE_MISSING", hint: "Check the table names in the config." },
  "42703": {
    kind: "SOURCE_CHANGED",
    hint: "A column was dropped or renamed while it was being read; run the command again.",
  },
  "0A000": {
    kind: "SOURCE_NOT_READY",
    hint: "Run `banyan check` to see what the server does not support.",
  },
};

const BY_SYSTEM_ERROR: Readonly<Record<string, Verdict>> = {
  ECONNREFUSED: unreachable(
    "Nothing listens at this address; check host and port, or start the server.",
  ),
  ECONNRESET: unreachable(LATER),
  EPIPE: unreachable(LATER),
  ETIMEDOUT: unreachable(LATER),
  EHOSTUNREACH: unreachable(LATER),
  ENETUNREACH: unreachable(LATER),
  EAI_AGAIN: unreachable("The name server did not answer; it is tried again."),
  ENOTFOUND: refused("Check the host name in the URL."),
  EACCES: refused("Check the rights on the socket or certificate file."),
  ENOENT: refused("Check the path of the socket or certificate file in the URL."),
};

/** What the driver says when an answer did not come in the time it was given. */
const UNANSWERED = /^Query read timeout/;

/** Failures that the driver reports in words alone. */
const BY_DRIVER_MESSAGE: readonly (readonly [RegExp, Verdict])[] = [
  [
    /^Connection terminated|^timeout expired|^timeout exceeded when trying to connect/,
    unreachable(LATER),
  ],
  [UNANSWERED, unreachable("The server, or the network to it, is stuck; it is tried again.")],
  [
    /^Client (has encountered a connection error|was closed)|Cannot use a pool after/,
    unreachable(LATER),
  ],
  [
    /does not support SSL/,
    refused("The server offers no TLS: set sslmode=disable in the URL, or turn TLS on."),
  ],
  [/^SASL|password must be a string/i, refused("Check the password in the URL.")],
  [/^Invalid (URL|port)/, refused("Check the URL: postgres://user:password@host:port/database.")],
];

/**
 * Turns whatever the driver or the socket threw into a {@link BanyanError}: the one place that knows
 * SQLSTATEs. An error that is classified already is handed back as it is.
 *
 * @param doing what was being tried, for the message: `"reading table public.orders"`
 */
export function classify(error: unknown, side: Side, doing?: string): BanyanError {
  if (error instanceof BanyanError) return error;
  const driverError = describe(error);
  const verdict = judge(driverError, side);
  const prefix = doing === undefined ? `the ${side} database` : doing;
  return new BanyanError(codeOf(verdict, side), `${prefix}: ${driverError.message}`, {
    cause: withoutUrl(error),
    ...(verdict.hint === undefined ? {} : { hint: verdict.hint }),
    detail: driverError.code === "" ? {} : { sqlstate: driverError.code },
  });
}

/** The SQLSTATE (or system error name) of a driver error, also of one that was classified; "" when it has none. */
export function sqlstateOf(error: unknown): string {
  if (error instanceof BanyanError) return sqlstateOf(error.cause);
  return describe(error).code;
}

/** True when the server did not answer in the time that the session gives it. */
export function isUnanswered(error: unknown): boolean {
  return UNANSWERED.test(describe(error).message);
}

function judge(error: DriverError, side: Side): Verdict {
  if (isClosedToSessions(error))
    return unreachable(
      "The database takes no sessions for now (datallowconn); it is tried again. ALTER DATABASE … ALLOW_CONNECTIONS true opens it.",
    );
  if (side === "source") {
    if (isDroppedTable(error))
      return {
        kind: "SOURCE_CHANGED",
        hint: "A table or a partition of it was dropped while it was being read; run the command again.",
      };
    const special = judgeReplication(error) ?? BY_SQLSTATE_SOURCE[error.code];
    if (special !== undefined) return special;
  }
  const known = BY_SQLSTATE[error.code] ?? BY_SYSTEM_ERROR[error.code];
  if (known !== undefined) return known;
  if (isTlsCode(error.code)) {
    return refused(
      "The server's certificate is not trusted: see sslmode and sslrootcert in the URL.",
    );
  }
  for (const [pattern, verdict] of BY_DRIVER_MESSAGE) {
    if (pattern.test(error.message)) return verdict;
  }
  return refused(undefined);
}

/** While it is moved, renamed or restored. 55000 means several things, as below; of a session's begin only this. */
function isClosedToSessions({ code, routine, message }: DriverError): boolean {
  return (
    code === "55000" &&
    (routine === "CheckMyDatabase" || /not currently accepting connections/.test(message))
  );
}

/** XX000 means many things, most of them broken; of a table that another session has dropped it says only this. */
function isDroppedTable({ code, routine, message }: DriverError): boolean {
  return (
    code === "XX000" &&
    (/^(try_)?(relation_open|table_open)$/.test(routine) ||
      /could not open relation with OID/.test(message))
  );
}

/**
 * 55000 and 42704 mean several things; the C routine that raised the error tells them apart whatever
 * the server's message language, the English text covers versions that moved the check.
 */
function judgeReplication(error: DriverError): Verdict | undefined {
  const text = error.message;
  if (error.code === "42704") {
    if (/publication/i.test(error.routine) || /publication/.test(text)) {
      return {
        kind: "PUBLICATION_MISSING",
        hint: "Run `banyan check`: it prints the CREATE PUBLICATION.",
      };
    }
    if (/slot/i.test(error.routine) || /replication slot/.test(text)) {
      return {
        kind: "SLOT_LOST",
        hint: `The slot does not exist any more. ${lostPlaceHint()}`,
      };
    }
  }
  if (error.code === "55000") {
    if (/can(not| no longer) (access|get changes|be (advanced|copied))|invalidated/.test(text)) {
      return {
        kind: "SLOT_LOST",
        hint: `The server gave up the slot's log. ${lostPlaceHint()}`,
      };
    }
    return {
      kind: "SOURCE_NOT_READY",
      hint: "Run `banyan check`: it names the setting to change.",
    };
  }
  // "requested WAL segment … has already been removed"
  if (error.code === "58P01" && /WAL segment|wal/i.test(text)) {
    return {
      kind: "SLOT_LOST",
      hint: `The log that the slot needs was removed. ${lostPlaceHint()}`,
    };
  }
  return undefined;
}

function codeOf(verdict: Verdict, side: Side): ErrorCode {
  switch (verdict.kind) {
    case "unreachable":
      return side === "source" ? "SOURCE_UNREACHABLE" : "STORE_UNREACHABLE";
    case "refused":
      return side === "source" ? "SOURCE_REFUSED" : "STORE_REFUSED";
    default:
      return verdict.kind;
  }
}

function describe(error: unknown): DriverError {
  // A host with several addresses fails with one error per address; the first tells enough.
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0]);
  const { code, message, routine } = (
    typeof error === "object" && error !== null ? error : { message: String(error) }
  ) as Record<string, unknown>;
  return {
    code: typeof code === "string" ? code : "",
    message: typeof message === "string" && message !== "" ? message : "unknown error",
    routine: typeof routine === "string" ? routine : "",
  };
}

function isTlsCode(code: string): boolean {
  return /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)|HOSTNAME_MISMATCH|EPROTO)/.test(
    code,
  );
}

/** A URL error carries the URL, and so the password, as a property: that one is not kept as cause. */
function withoutUrl(error: unknown): unknown {
  return typeof error === "object" && error !== null && "input" in error ? undefined : error;
}

function unreachable(hint: string | undefined): Verdict {
  return { kind: "unreachable", hint };
}

function refused(hint: string | undefined): Verdict {
  return { kind: "refused", hint };
}
