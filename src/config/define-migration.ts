import type { StreamRef } from "../mapping/rules.ts";

/** A value that stands in the environment, not in the config file: a password, a whole URL. */
export interface EnvironmentReference {
  readonly env: string;
  readonly fallback: string | undefined;
}

/**
 * Refers to an environment variable, read when the config is loaded.
 *
 * @param fallback used when the variable is not set; without it that is an error
 */
export function env(name: string, fallback?: string): EnvironmentReference {
  return { env: name, fallback };
}

export interface PostgresSourceConfig {
  readonly kind: "postgres";
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly url: string | EnvironmentReference;
  /** Replication slot; made by `banyan run`. Default `banyan_<name>`. */
  readonly slot?: string;
  /** Publication; `banyan check` prints the SQL that makes it. Default `banyan_<name>`. */
  readonly publication?: string;
}

export type StoreConfig =
  /** A Postgres of Banyan's own, in a folder beside the config (default `.banyan/store`). */
  | { readonly kind: "embedded"; readonly directory?: string }
  | { readonly kind: "postgres"; readonly url: string | EnvironmentReference };

/** The way back into the legacy rows; see docs/7-rollout.md. */
export interface ReverseConfig {
  /** The database of `source.url`, with a role that may write to the mapped tables. */
  readonly url: string | EnvironmentReference;
}

/** Limits on memory and batches; see docs/limits.md. */
export interface LimitsConfig {
  readonly batchChangesMax?: number;
  readonly batchBytesMax?: number;
  readonly lingerMs?: number;
  readonly transactionChangesMax?: number;
  readonly transactionBytesMax?: number;
  readonly idleMs?: number;
  readonly baselineChunkRowsMax?: number;
  readonly baselineSessionsMax?: number;
  readonly baselineLagSecondsMax?: number;
  readonly baselineSlowdownMax?: number;
}

/** One address in front of both applications; see docs/6-proxy.md. */
export interface ProxyConfig {
  /** Where clients connect: `127.0.0.1:8080`, `[::]:8080`. */
  readonly listen: string;
  readonly admin?: {
    /** An address of its own. */
    readonly listen: string;
    /** Needed when others can reach it. */
    readonly token?: string | EnvironmentReference;
  };
  readonly upstreams: {
    readonly legacy: UpstreamConfig;
    readonly new: UpstreamConfig;
  };
  readonly routes: readonly RouteConfig[];
  /** Addresses or networks whose `X-Forwarded-*`, `Forwarded` and `Via` are believed. */
  readonly trusted?: readonly string[];
  /** A file that gets one line of JSON per request. */
  readonly accessLog?: string;
  readonly shadow?: ShadowConfig;
}

/** How reads are compared and writes mirrored; see docs/6-proxy.md. */
export interface ShadowConfig {
  /** Share of the reads that are compared, 0 to 1. */
  readonly reads?: number;
  /** Share of those of which legacy is asked twice. */
  readonly noise?: number;
  readonly timeoutMs?: number;
  readonly connectionsMax?: number;
  readonly bodyBytesMax?: number;
  /** Headers of an answer that count. */
  readonly headers?: readonly string[];
  /** Samples of differences have the values. */
  readonly showValues?: boolean;
  /** Paths of routes that are neither compared nor mirrored. */
  readonly except?: readonly string[];
  readonly normalise?: readonly NormaliserConfig[];
}

/** What answers may differ in. Places are written `updatedAt`, `lines[].id`, `(header etag)`. */
export interface NormaliserConfig {
  /** Path of the routes that are meant; all when absent. */
  readonly path?: string;
  /** Left out, with all that is below them. */
  readonly ignore?: readonly string[];
  /** Arrays whose elements have no order. */
  readonly unordered?: readonly string[];
  /** By how much numbers may differ. */
  readonly tolerances?: Readonly<Record<string, number>>;
  /** By how many milliseconds timestamps may differ. */
  readonly timestampsWithinMs?: Readonly<Record<string, number>>;
}

export interface UpstreamConfig {
  /** `http://host:port` or `https://name:port`. */
  readonly url: string | EnvironmentReference;
  readonly connectionsMax?: number;
  readonly connectMsMax?: number;
  readonly responseMsMax?: number;
  readonly idleMsMax?: number;
  readonly healthPath?: string;
  readonly healthEveryMs?: number;
}

type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS";

/** Requests that are about the aggregates of one stream type. */
export interface RouteConfig {
  readonly method: Method | readonly Method[];
  /** `/orders/:id`, `/orders/:id/*`. */
  readonly path: string;
  /** One of `streams`. */
  readonly stream: string;
  readonly kind: "read" | "write" | "create";
  /** Where the aggregate's id is. A write must have one. */
  readonly id?:
    | { readonly path: string }
    | { readonly query: string }
    | { readonly header: string }
    | { readonly json: string };
  /** How ids are written; another spelling is not taken for one. Default `text`. */
  readonly idForm?: "text" | "integer" | "uuid" | "key";
  /** Of a creation: where legacy's answer names what it has made. `header: "location"`: the last word of its path. */
  readonly created?: { readonly json: string } | { readonly header: string };
}

/** How a new service in shadow is judged by what legacy did; see docs/7-rollout.md. */
export interface DualConfig {
  /** By stream type: what may differ between two sides that decided the same. */
  readonly normalise?: Readonly<Record<string, DualNormaliserConfig>>;
  /** Whether the events must be the same too, not only the rows they fold to. */
  readonly compareEvents?: boolean;
  readonly windowSeconds?: number;
}

export interface DualNormaliserConfig {
  /** Columns that are not compared: `updated_at` in every table, `payments.captured_at` in one. */
  readonly ignore?: readonly string[];
  /** By table, as the stream names it: key columns that each side makes up by itself. */
  readonly generated?: Readonly<Record<string, readonly string[]>>;
  readonly timestampsWithinMs?: number;
}

/** How moves of a stream type are carried out and watched; see docs/7-rollout.md. */
export interface RolloutConfig {
  readonly holdSeconds?: number;
  /** Percents that `banyan rollout promote` goes through, rising. */
  readonly shares?: readonly number[];
  readonly gates?: {
    readonly parityMinutesMax?: number;
    readonly dualSamplesMin?: number;
    readonly dualFailuresMax?: number;
    readonly shadowSamplesMin?: number;
    readonly shadowMatchMin?: number;
    readonly trafficSamplesMin?: number;
    readonly errorRateMax?: number;
    readonly latencyMsMax?: number;
    readonly lagSecondsMax?: number;
    readonly hoursMax?: number;
  };
  readonly alarms?: {
    readonly windowSeconds?: number;
    readonly samplesMin?: number;
    readonly errorRateMax?: number;
    readonly latencyMsMax?: number;
    readonly dualFailureRateMax?: number;
    readonly differentRateMax?: number;
  };
}

/** One migration: where the rows are, where the events go, and how the one becomes the other. */
export interface MigrationConfig<
  Streams extends Readonly<Record<string, StreamRef>> = Readonly<Record<string, StreamRef>>,
> {
  /** Name of the pipeline in the store: letters, digits, underscores. */
  readonly name: string;
  readonly source: PostgresSourceConfig;
  /** The embedded store when absent. */
  readonly store?: StoreConfig;
  readonly streams: Streams;
  readonly limits?: LimitsConfig;
  /** Where reverse sync writes what services have decided; the source when absent. */
  readonly reverse?: ReverseConfig;
  /** What `banyan proxy` does; the other commands do not look at it. */
  readonly proxy?: ProxyConfig;
  readonly dual?: DualConfig;
  readonly rollout?: RolloutConfig;
}

/** Gives a config its type; what a `banyan.config.ts` exports by default. */
export function defineMigration<Streams extends Readonly<Record<string, StreamRef>>>(
  config: MigrationConfig<Streams>,
): MigrationConfig<Streams> {
  return config;
}
