/** The upstream did not answer; says how the client is told. */
export class UpstreamFailure extends Error {
  readonly refusal: "upstream-busy" | "upstream-down" | "upstream-failed" | "upstream-slow";
  /** The upstream closed a connection, maybe one that was kept and just then used again. */
  readonly wasClosed: boolean;

  constructor(
    refusal: UpstreamFailure["refusal"],
    message: string,
    { cause, wasClosed = false }: { readonly cause?: unknown; readonly wasClosed?: boolean } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.refusal = refusal;
    this.wasClosed = wasClosed;
  }
}
