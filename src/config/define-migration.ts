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

/** Limits on memory and batches; see docs/limits.md. */
export interface LimitsConfig {
  readonly batchChangesMax?: number;
  readonly batchBytesMax?: number;
  readonly lingerMs?: number;
  readonly transactionChangesMax?: number;
  readonly transactionBytesMax?: number;
  readonly idleMs?: number;
}

/** One migration: where the rows are, where the events go, and how the one becomes the other. */
export interface MigrationConfig {
  /** Name of the pipeline in the store: letters, digits, underscores. */
  readonly name: string;
  readonly source: PostgresSourceConfig;
  /** The embedded store when absent. */
  readonly store?: StoreConfig;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly limits?: LimitsConfig;
}

/** Gives a config its type; what a `banyan.config.ts` exports by default. */
export function defineMigration(config: MigrationConfig): MigrationConfig {
  return config;
}
