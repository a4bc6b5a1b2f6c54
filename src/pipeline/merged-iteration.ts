/**
 * Iterates several sources at once, at most `atOnce` of them open, and gives their items as they come.
 * Each open source is at most one item ahead. Leaving early closes those that are open.
 */
export async function* merged<T>(
  sources: readonly (() => AsyncIterable<T>)[],
  atOnce: number,
): AsyncGenerator<T, void, void> {
  interface Arrival {
    readonly iterator: AsyncIterator<T>;
    readonly result: IteratorResult<T, unknown>;
  }
  const waiting = [...sources];
  const open = new Map<AsyncIterator<T>, Promise<Arrival>>();
  const pull = (iterator: AsyncIterator<T>): void => {
    const arrival = iterator.next().then((result) => ({ iterator, result }));
    // Seen by the race below; noted here so that a second failure meanwhile is not unhandled.
    arrival.catch(() => undefined);
    open.set(iterator, arrival);
  };
  const fill = (): void => {
    while (open.size < atOnce && waiting.length > 0) {
      pull(waiting.shift()!()[Symbol.asyncIterator]());
    }
  };
  try {
    for (fill(); open.size > 0; fill()) {
      const { iterator, result } = await Promise.race(open.values());
      if (result.done === true) open.delete(iterator);
      else {
        pull(iterator);
        yield result.value;
      }
    }
  } finally {
    await Promise.allSettled([...open.keys()].map(async (iterator) => iterator.return?.()));
  }
}
