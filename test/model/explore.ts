/** A step that is possible in a state, in words, and the state after it. */
export interface Step<S> {
  readonly name: string;
  readonly next: S;
}

export interface Model<S> {
  readonly initial: S;
  /** Everything that may happen next; nothing at all where it is over or stuck. */
  steps(state: S): readonly Step<S>[];
  /** What is wrong with a state; `isStuck` when nothing can happen in it any more. */
  broken(state: S, isStuck: boolean): string | undefined;
}

export interface Exploration {
  readonly states: number;
  /** Steps of the longest of the shortest ways to a state. */
  readonly depth: number;
  /** The shortest way to a broken state. */
  readonly counterexample: Counterexample | undefined;
}

export interface Counterexample {
  readonly broken: string;
  readonly trace: readonly string[];
}

/**
 * Visits every state that any order of steps can reach, nearest first, until one is broken. States are
 * plain data: two that print alike are one.
 *
 * @throws Error beyond `statesMax`: a model that was not explored to its end has shown nothing
 */
export function explore<S>(model: Model<S>, statesMax: number): Exploration {
  const known = new Set<string>([JSON.stringify(model.initial)]);
  const names: string[] = ["start"];
  const parents: number[] = [-1];
  let layer: { readonly state: S; readonly index: number }[] = [{ state: model.initial, index: 0 }];
  for (let depth = 0; ; depth++) {
    const nextLayer: typeof layer = [];
    for (const { state, index } of layer) {
      const steps = model.steps(state);
      const broken = model.broken(state, steps.length === 0);
      if (broken !== undefined) {
        const trace = wayTo(index, names, parents);
        return { states: known.size, depth, counterexample: { broken, trace } };
      }
      for (const { name, next } of steps) {
        const key = JSON.stringify(next);
        if (known.has(key)) continue;
        known.add(key);
        if (known.size > statesMax) throw new Error(`more than ${statesMax} states`);
        names.push(name);
        parents.push(index);
        nextLayer.push({ state: next, index: names.length - 1 });
      }
    }
    if (nextLayer.length === 0) return { states: known.size, depth, counterexample: undefined };
    layer = nextLayer;
  }
}

function wayTo(index: number, names: readonly string[], parents: readonly number[]): string[] {
  const trace: string[] = [];
  for (let at = index; at > 0; at = parents[at]!) trace.push(names[at]!);
  return trace.reverse();
}

/** A counterexample as text, one step a line. */
export function told({ broken, trace }: Counterexample): string {
  const steps = trace.map((name, i) => `${String(i + 1).padStart(4)}. ${name}`);
  return [...steps, `   => ${broken}`].join("\n");
}
