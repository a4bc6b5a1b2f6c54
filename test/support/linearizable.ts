/** One request to one aggregate, as its client saw it. */
export interface Operation<Input, Output> {
  readonly input: Input;
  /** Undefined when no answer came: it took place at some time after the call, or never. */
  readonly output: Output | undefined;
  readonly calledAtMs: number;
  /** Infinity without an answer. */
  readonly returnedAtMs: number;
}

/** What an aggregate does when it is asked one thing after the other. */
export interface SequentialModel<State, Input, Output> {
  readonly initial: State;
  step(state: State, input: Input): { readonly state: State; readonly output: Output };
  /** Whether an answer is the one that the model gives. */
  agrees(given: Output, expected: Output): boolean;
  /** The same text for the same state. */
  keyOf(state: State): string;
}

export interface Linearization<Input, Output> {
  readonly isLinearizable: boolean;
  /** The longest order that explains what clients saw; of all operations with an answer, if there is one. */
  readonly longest: readonly Operation<Input, Output>[];
}

/**
 * Whether there is one order of the operations that the model explains and in which none comes before one
 * that had ended when it was called (Wing and Gong, with states that were met before left out).
 *
 * Takes time that grows with how many operations are under way at once, not with how many there are.
 */
export function linearize<State, Input, Output>(
  operations: readonly Operation<Input, Output>[],
  model: SequentialModel<State, Input, Output>,
): Linearization<Input, Output> {
  const all = operations.toSorted((a, b) => a.calledAtMs - b.calledAtMs);
  const taken = new Uint8Array(all.length);
  const met = new Set<string>();
  let longest: readonly number[] = [];
  const order: number[] = [];

  /** Those that may come next: called before any other that is left has ended. */
  const candidates = (): readonly number[] => {
    let endMs = Number.POSITIVE_INFINITY;
    const found: number[] = [];
    for (let i = 0; i < all.length; i++) {
      if (taken[i] === 1) continue;
      if (all[i]!.calledAtMs > endMs) break;
      found.push(i);
      endMs = Math.min(endMs, all[i]!.returnedAtMs);
    }
    return found.filter((i) => all[i]!.calledAtMs <= endMs);
  };
  const isDone = (): boolean =>
    all.every(({ output }, i) => taken[i] === 1 || output === undefined);

  const search = (state: State): boolean => {
    if (order.length > longest.length) longest = [...order];
    if (isDone()) return true;
    const key = `${taken.join("")} ${model.keyOf(state)}`;
    if (met.has(key)) return false;
    met.add(key);
    for (const next of candidates()) {
      const { input, output } = all[next]!;
      const step = model.step(state, input);
      if (output !== undefined && !model.agrees(output, step.output)) continue;
      taken[next] = 1;
      order.push(next);
      if (search(step.state)) return true;
      order.pop();
      taken[next] = 0;
    }
    return false;
  };
  const isLinearizable = search(model.initial);
  const found = isLinearizable ? order : longest;
  return { isLinearizable, longest: found.map((i) => all[i]!) };
}
