/** A step that is possible in a state, in words, and the state after it. */
export interface Step<S> {
  readonly name: string;
  readonly next: S;
}

export interface Model<S> {
  readonly initial: S;
  /** Everything that may happen next; nothing at all where it is over or stuck. */
  steps(state: S): readonly Step<S>[] | Promise<readonly Step<S>[]>;
  /** All that tells states apart, always as much of it in the same order; by default their properties. */
  parts?(state: S): readonly unknown[];
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
 * plain data, with the same properties in the same order: two that print alike are one.
 *
 * @throws Error beyond `statesMax`: a model that was not explored to its end has shown nothing
 */
export async function explore<S extends object>(
  model: Model<S>,
  statesMax: number,
): Promise<Exploration> {
  const partsOf = (state: S): readonly unknown[] => model.parts?.(state) ?? Object.values(state);
  const numberOf = partNumbers();
  const parts = partsOf(model.initial);
  const initial: Visit<S> = { state: model.initial, index: 0, parts, numbers: parts.map(numberOf) };
  const known = new Set<string>([keyOf(initial.numbers)]);
  // Of each state the one before it, and the how many-eth of its steps it was.
  const parents: number[] = [-1];
  const ordinals: number[] = [-1];
  let layer = [initial];
  for (let depth = 0; ; depth++) {
    const nextLayer: typeof layer = [];
    for (const visit of layer) {
      const { state, index } = visit;
      const steps = await model.steps(state);
      const broken = model.broken(state, steps.length === 0);
      if (broken !== undefined) {
        const trace = await wayTo(model, index, parents, ordinals);
        return { states: known.size, depth, counterexample: { broken, trace } };
      }
      for (const [ordinal, { next }] of steps.entries()) {
        const parts = partsOf(next);
        const numbers = parts.map((part, i) =>
          part === visit.parts[i] ? visit.numbers[i]! : numberOf(part),
        );
        const key = keyOf(numbers);
        if (known.has(key)) continue;
        known.add(key);
        if (known.size > statesMax) throw new Error(`more than ${statesMax} states`);
        parents.push(index);
        ordinals.push(ordinal);
        nextLayer.push({ state: next, index: parents.length - 1, parts, numbers });
      }
    }
    if (nextLayer.length === 0) return { states: known.size, depth, counterexample: undefined };
    layer = nextLayer;
  }
}

/** A state, and its parts as numbers: most are the same as in the state before, and not printed again. */
interface Visit<S> {
  readonly state: S;
  readonly index: number;
  readonly parts: readonly unknown[];
  readonly numbers: readonly number[];
}

/** Two characters a number. */
function keyOf(numbers: readonly number[]): string {
  let key = "";
  for (const number of numbers) key += String.fromCharCode(number & 0xffff, number >>> 16);
  return key;
}

/** What takes longer to print than to be remembered. */
const LONG = 200;

/** Gives values that print alike the same number. */
function partNumbers(): (part: unknown) => number {
  const numbers = new Map<string, number>();
  const long = new WeakMap<object, number>();
  return (part) => {
    const isObject = typeof part === "object" && part !== null;
    const before = isObject ? long.get(part) : undefined;
    if (before !== undefined) return before;
    const text = JSON.stringify(part);
    let number = numbers.get(text);
    if (number === undefined) numbers.set(text, (number = numbers.size));
    if (isObject && text.length > LONG) long.set(part, number);
    return number;
  };
}

/** Goes there once more: to note the words of every step would take most of the memory. */
async function wayTo<S>(
  model: Model<S>,
  index: number,
  parents: readonly number[],
  ordinals: readonly number[],
): Promise<string[]> {
  const way: number[] = [];
  for (let at = index; at > 0; at = parents[at]!) way.push(ordinals[at]!);
  const trace: string[] = [];
  let state = model.initial;
  for (const ordinal of way.reverse()) {
    const { name, next } = (await model.steps(state))[ordinal]!;
    trace.push(name);
    state = next;
  }
  return trace;
}

/** A counterexample as text, one step a line. */
export function told({ broken, trace }: Counterexample): string {
  const steps = trace.map((name, i) => `${String(i + 1).padStart(4)}. ${name}`);
  return [...steps, `   => ${broken}`].join("\n");
}
