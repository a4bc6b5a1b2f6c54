import { createReadStream } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { BanyanError, invariant } from "../model/errors.ts";

/** Read at once from each file; all are read at the same time when they are merged. */
const READ_BYTES = 16 * 1024;

/** A set of numbered line files that are written in turns and then read one by one. */
export class SpillFiles {
  readonly #prefix: string;
  readonly #buffers = new Map<number, string[]>();
  readonly #lengths = new Map<number, number>();
  readonly #handles = new Map<number, FileHandle>();

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get used(): readonly number[] {
    return [...this.#buffers.keys()].sort((a, b) => a - b);
  }

  write(file: number, line: string): void {
    let buffer = this.#buffers.get(file);
    if (buffer === undefined) this.#buffers.set(file, (buffer = []));
    buffer.push(line);
    this.#lengths.set(file, (this.#lengths.get(file) ?? 0) + line.length);
  }

  /** Writes out every buffer longer than `lengthMax`. */
  async flush(lengthMax: number): Promise<void> {
    for (const [file, buffer] of this.#buffers) {
      if (buffer.length === 0 || (this.#lengths.get(file) ?? 0) <= lengthMax) continue;
      await spilling(dirname(this.#prefix), async () => {
        let handle = this.#handles.get(file);
        if (handle === undefined) {
          handle = await open(this.#path(file), "a");
          this.#handles.set(file, handle);
        }
        // Not write(), which may write a part only, as where a disk becomes full, and be content.
        await handle.appendFile(`${buffer.join("\n")}\n`);
      });
      buffer.length = 0;
      this.#lengths.set(file, 0);
    }
  }

  /** Not node:readline, which also ends a line at U+2028, and JSON does not escape that. */
  async *lines(file: number): AsyncGenerator<string, void, void> {
    // In pieces, for a line may be a row of a hundred megabytes and a chunk is a small part of it.
    let line: string[] = [];
    try {
      for await (const chunk of createReadStream(this.#path(file), {
        encoding: "utf8",
        highWaterMark: READ_BYTES,
      })) {
        const [first, ...rest] = String(chunk).split("\n");
        line.push(first!);
        for (const next of rest) {
          yield line.join("");
          line = [next];
        }
      }
    } catch (error) {
      throw spillFailed(dirname(this.#prefix), error);
    }
    invariant(line.join("") === "", "a file of a large transaction ends with a whole line");
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.values()) await handle.close();
    this.#handles.clear();
  }

  #path(file: number): string {
    return `${this.#prefix}-${file}`;
  }
}

/**
 * Works in the folder that large transactions are spilled to.
 *
 * @throws BanyanError `SPILL_FAILED` for what the system says of it
 */
export async function spilling<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw spillFailed(directory, error);
  }
}

function spillFailed(directory: string, cause: unknown): unknown {
  if (cause instanceof BanyanError || !(cause instanceof Error)) return cause;
  return new BanyanError(
    "SPILL_FAILED",
    `large transactions cannot be kept in ${directory}: ${cause.message}`,
    {
      cause,
      hint: "Make room on that disk, or see to the rights on the folder, then: banyan run. Nothing of the transaction is in the store.",
    },
  );
}
