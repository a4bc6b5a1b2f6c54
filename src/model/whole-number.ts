const BITS = { int2: 16n, int4: 32n, int8: 64n } as const;
const WHOLE_NUMBER = /^(0|-?[1-9]\d*)$/;

export type IntegerType = keyof typeof BITS;

export function isIntegerType(type: string): type is IntegerType {
  return Object.hasOwn(BITS, type);
}

/** Whether it is a whole number in canonical text, and a column of the type has room for it. */
export function isWholeNumber(type: IntegerType, text: string): boolean {
  if (!WHOLE_NUMBER.test(text)) return false;
  const limit = 1n << (BITS[type] - 1n);
  const value = BigInt(text);
  return value >= -limit && value < limit;
}
