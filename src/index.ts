/** Public API of Banyan: what a `banyan.config.ts` and a program that embeds Banyan import. */
export { defineMigration, env, type MigrationConfig } from "./config/define-migration.ts";
export {
  becomes,
  changed,
  changes,
  child,
  deleted,
  inserted,
  is,
  stream,
  table,
  updated,
  was,
  type TableRef,
} from "./mapping/rules.ts";
export { openAggregates } from "./cli/wire.ts";
export type { Aggregates } from "./service/aggregate.ts";
export type { WrittenBack } from "./store/reverse-store.ts";
export type { Decided, Loaded } from "./service/decided.ts";
export type { AggregateStore } from "./service/aggregate-store.ts";
export type { Draft, StateOf } from "./service/event-types.ts";
export {
  requestContext,
  type RequestContext,
  type RequestHeaders,
} from "./service/request-context.ts";
export { BanyanError, ERROR_CODES, EXIT, type ErrorCode } from "./model/errors.ts";
export type { NewEvent, RecordedEvent } from "./model/event.ts";
export type { ParityReport } from "./verify/parity-report.ts";
export type { PipelineStatus } from "./pipeline/status.ts";
