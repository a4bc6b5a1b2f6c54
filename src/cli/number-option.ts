export interface NumberOption {
  readonly type: "number";
  readonly requiresArg: true;
  readonly describe: string;
  readonly coerce: (value: number | undefined) => number;
}

/**
 * A whole number with bounds, as an option of a command. Left to itself the parser hands on `abc` as
 * NaN, which is neither below nor above any bound: a wait that never ends.
 */
export function numberOption(
  name: string,
  { min, max, describe }: { readonly min: number; readonly max: number; readonly describe: string },
): NumberOption {
  return {
    type: "number",
    // Otherwise an option that was named without a value would silently have its default.
    requiresArg: true,
    describe,
    coerce: (value) => {
      if (value !== undefined && Number.isInteger(value) && value >= min && value <= max)
        return value;
      // The parser keeps only the message.
      throw new Error(`--${name} is a whole number from ${min} to ${max}`);
    },
  };
}
