import type { ColumnReading } from "./column-roles.ts";
import type { Finding } from "../source/change-source.ts";

export const VERDICTS = ["migrate-first", "migrate", "later", "blocked", "leave"] as const;

export type Verdict = (typeof VERDICTS)[number];

/**
 * A judgement of a database, as `banyan assess --json` writes it. A figure that is not known is
 * absent; a sum over figures of which some are not known says so (`atLeast`).
 */
export interface Assessment {
  readonly format: 1;
  readonly database: string;
  readonly server: string;
  readonly role: string;
  readonly basis: Basis;
  readonly summary: Summary;
  /** The aggregate to begin with; absent when none stands out. */
  readonly first?: { readonly aggregate: string; readonly reasons: readonly string[] };
  /** In the order of migration: first, migrate, later, blocked, leave. Every table is in exactly one. */
  readonly aggregates: readonly AssessedAggregate[];
  /** By name. Every table has exactly one verdict, with its reasons. */
  readonly tables: readonly AssessedTable[];
  /** What must be done before a capture, in the order in which to do it. */
  readonly blockers: readonly Blocker[];
  /** What would make this judgement better. */
  readonly advice: readonly string[];
}

/** What the figures rest on. */
export interface Basis {
  /** How long the server has counted changes, at most. */
  readonly countedSeconds?: number;
  readonly sample?: {
    readonly seconds: number;
    readonly transactions: number;
    readonly changes: number;
    readonly bytes: number;
  };
  /** Why a sample that was asked for could not be taken. */
  readonly sampleRefused?: string;
  /** Tables that were never analysed: their rows and values are not known. */
  readonly neverAnalysed: readonly string[];
  /** Tables that this role may not read: what the server knows of their values is hidden from it. */
  readonly unreadable: readonly string[];
}

/** A sum of figures of which some may not be known. */
export interface Sum {
  readonly value: number;
  /** True when something of it is not known, so that it is more. */
  readonly atLeast: boolean;
}

export interface Summary {
  readonly tables: number;
  readonly aggregates: number;
  readonly rows: Sum;
  readonly bytes: number;
  readonly changesPerDay: Sum;
  /** Tables by verdict; they add up to `tables`. */
  readonly verdicts: Readonly<Record<Verdict, number>>;
  /** Of what is not left as CRUD. */
  readonly migrating: Cost;
  /** What those that are left would have cost on top. */
  readonly leaving: Cost;
  /** For a person: what was looked at, the verdict, what to begin with. */
  readonly sentences: readonly string[];
}

/** What keeping rows as events takes. */
export interface Cost {
  readonly rows: Sum;
  /** One baseline event per root row. */
  readonly baselineEvents: Sum;
  readonly baselineBytes: Sum;
  /** Reading, mapping and writing, at the rate that two cores reach. */
  readonly baselineSeconds: Sum;
  readonly bytesPerDay: Sum;
}

export interface AssessedAggregate {
  /** A name for its stream. */
  readonly name: string;
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
  readonly root: string;
  readonly children: readonly {
    readonly table: string;
    readonly role: string;
    /** Child column → root key column. */
    readonly parent: Readonly<Record<string, string>>;
    readonly reasons: readonly string[];
  }[];
  /** Why the root is one. */
  readonly boundary: readonly string[];
  readonly validTime?: string;
  /** References to tables of other aggregates. */
  readonly leaving: readonly {
    readonly table: string;
    readonly columns: readonly string[];
    readonly references: string;
    readonly enforced: boolean;
  }[];
  /** Aggregates that refer to each other in a circle with it; at most 20. */
  readonly circle: readonly string[];
  readonly worth: number;
  readonly effort: number;
  readonly rows: Sum;
  readonly bytes: number;
  readonly changesPerDay: Sum;
  readonly cost: Cost;
}

export interface AssessedTable {
  readonly name: string;
  readonly kind: string;
  readonly aggregate: string;
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
  readonly rows?: number;
  readonly bytes: number;
  readonly indexBytes: number;
  readonly changes: {
    readonly basis: "statistics" | "sample" | "unknown";
    readonly insertedPerDay?: number;
    readonly updatedPerDay?: number;
    readonly deletedPerDay?: number;
    readonly remark?: string;
  };
  readonly key: readonly string[];
  readonly uniqueKeys: readonly (readonly string[])[];
  readonly replicaIdentity: string;
  readonly partitions: readonly string[];
  readonly inherits: readonly string[];
  readonly triggers: readonly string[];
  readonly generatedLeftOut: readonly string[];
  readonly columns: number;
  readonly roles: readonly ColumnReading[];
  /** Seen in the sample: column → `old → new` → how often. */
  readonly transitions: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly historyIn: readonly string[];
  readonly notes: readonly Note[];
  readonly blockers: readonly Blocker[];
  readonly baselineBytes?: number;
  readonly bytesPerDay?: Sum;
}

export interface Note {
  /** Short kebab-case name, stable for scripts. */
  readonly code: string;
  readonly text: string;
}

export interface Blocker {
  /** Absent for what concerns the server or the role. */
  readonly table?: string;
  readonly severity: Finding["severity"];
  readonly code: string;
  readonly text: string;
  /** Ready to run; absent when only a person can decide. */
  readonly sql?: string;
}

export function isMigrating(verdict: Verdict): boolean {
  return verdict !== "leave";
}
