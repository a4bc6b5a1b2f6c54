/**
 * Runs something at a moment of one's choice, so that a function of the config that looks at the clock
 * gives itself away at another one. Synchronous: nothing else of the process sees that time.
 */
export function withClockAt<T>(ms: number, body: () => T): T {
  const RealDate = globalThis.Date;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args: unknown[], newTarget): object =>
      Reflect.construct(target, args.length === 0 ? [ms] : args, newTarget) as object,
    apply: () => new RealDate(ms).toString(),
    get: (target, name, receiver): unknown =>
      name === "now" ? () => ms : Reflect.get(target, name, receiver),
  });
  try {
    return body();
  } finally {
    globalThis.Date = RealDate;
  }
}
