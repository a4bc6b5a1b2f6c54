import yoctoSpinner, { type Spinner } from "yocto-spinner";

const PLAIN_EVERY_MS = 2_000;

/**
 * Progress on stderr: one live line on a terminal, elsewhere a plain line at most every two seconds.
 */
export class Progress {
  readonly #spinner: Spinner | undefined;
  #lastMs = 0;
  #last = "";

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#spinner = stream.isTTY ? yoctoSpinner({ stream }) : undefined;
  }

  /** The state of what is under way; replaces the line before. */
  update(text: string): void {
    if (this.#spinner !== undefined) {
      this.#spinner.text = text;
      if (!this.#spinner.isSpinning) this.#spinner.start();
      return;
    }
    const now = Date.now();
    if (text === this.#last || now - this.#lastMs < PLAIN_EVERY_MS) return;
    this.#lastMs = now;
    this.#last = text;
    process.stderr.write(`${text}\n`);
  }

  /** A line that stays. */
  line(text: string): void {
    const spinning = this.#spinner?.isSpinning === true;
    if (spinning) this.#spinner!.clear();
    process.stderr.write(`${text}\n`);
    this.#last = "";
    this.#lastMs = 0;
  }

  stop(): void {
    this.#spinner?.stop();
  }
}
