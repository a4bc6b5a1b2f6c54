import { mkdir, open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";

/** What the disk has not taken yet; further lines are left out, and counted. */
const WAITING_CHARS_MAX = 4_194_304;
/** Lines wait for others so long, to be written together. */
const GATHER_MS = 100;

/**
 * A file that lines are appended to, beside what is really to be done: a disk that is slow, full or gone
 * costs lines and nothing else. After a failure the file is opened anew.
 */
export class LogFile {
  readonly #path: string;
  #waiting: string[] = [];
  #waitingChars = 0;
  #file: FileHandle | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  dropped = 0;

  constructor(path: string) {
    this.#path = path;
  }

  write(line: string): void {
    if (this.#waitingChars + line.length > WAITING_CHARS_MAX) {
      this.dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingChars += line.length;
    this.#timer ??= setTimeout(() => {
      this.#writing = this.#writing.then(() => this.#flush());
    }, GATHER_MS).unref();
  }

  /** Writes what waits, as far as it can be written. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#flush();
    await this.#file?.close().catch(() => undefined);
  }

  async #flush(): Promise<void> {
    const lines = this.#waiting;
    this.#waiting = [];
    this.#waitingChars = 0;
    this.#timer = undefined;
    if (lines.length === 0) return;
    try {
      this.#file ??= await this.#open();
      await this.#file.appendFile(lines.join(""));
    } catch {
      this.dropped += lines.length;
      await this.#file?.close().catch(() => undefined);
      this.#file = undefined;
    }
  }

  async #open(): Promise<FileHandle> {
    await mkdir(dirname(this.#path), { recursive: true });
    return await open(this.#path, "a");
  }
}
