import { BanyanError } from "../../src/model/errors.ts";

/**
 * Asks again and again, while the log is read, whether the publication still sends everything: a table
 * that is taken out of it is missing from the log without a word.
 *
 * @param check rejects with what is wrong
 * @param onProblem told once; trouble that passes by itself is left to the stream to report
 * @returns ends the watch
 */
export function watchPublication(
  check: () => Promise<void>,
  onProblem: (error: BanyanError) => void,
  everyMs: number,
): () => void {
  let over = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    try {
      await check();
    } catch (error) {
      if (over) return;
      if (error instanceof BanyanError && error.recovery === "operator") return onProblem(error);
    }
    next();
  };
  const next = (): void => {
    if (!over) timer = setTimeout(() => void look(), everyMs).unref();
  };
  next();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
