/** Gives each thing a name that no other has: two that differ by case only would be taken for one. */
export class UniqueNames {
  readonly #taken: Set<string>;

  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set([...taken].map((name) => name.toLowerCase()));
  }

  /** The first of these that is free, else the last with a number. */
  claim(...candidates: readonly [string, ...string[]]): string {
    const free = candidates.find((name) => !this.has(name));
    let name = free ?? candidates.at(-1)!;
    for (let n = 2; this.has(name); n++) name = `${candidates.at(-1)!}${n}`;
    this.#taken.add(name.toLowerCase());
    return name;
  }

  has(name: string): boolean {
    return this.#taken.has(name.toLowerCase());
  }
}
