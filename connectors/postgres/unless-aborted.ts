/**
 * What `work` gives, or undefined as soon as the signal aborts, however long the work still takes: a
 * server that vanished without a word may never answer.
 *
 * @param discard gets what comes too late. A failure that comes too late is nobody's
 */
export async function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal,
  discard: (late: T) => unknown,
): Promise<T | undefined> {
  let abandon: (() => void) | undefined;
  const aborted = new Promise<undefined>((resolve) => {
    abandon = () => resolve(undefined);
    signal.addEventListener("abort", abandon, { once: true });
    if (signal.aborted) resolve(undefined);
  });
  try {
    const first = await Promise.race([work, aborted]);
    if (!signal.aborted) return first;
    work.then(discard, () => undefined);
    return undefined;
  } catch (error) {
    // Cut off by what the abort ended elsewhere.
    if (signal.aborted) return undefined;
    throw error;
  } finally {
    signal.removeEventListener("abort", abandon!);
  }
}
