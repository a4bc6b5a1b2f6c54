/** Passes on what is another text than the one before, so that one that stays is told once. */
export function tellChanges(
  tell: (problem: string | undefined) => void,
): (problem: string | undefined) => void {
  let last: string | undefined;
  return (problem) => {
    if (problem === last) return;
    last = problem;
    tell(problem);
  };
}
