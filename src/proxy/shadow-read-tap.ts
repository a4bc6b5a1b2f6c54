import type { AnswerTap } from "./answer-tap.ts";
import { ShadowBody, type ShadowBytes } from "./shadow-bytes.ts";
import { isEventStream } from "./shadow-client.ts";

/** What a client was answered. Its body must be given back. */
export interface TappedAnswer {
  readonly status: number;
  /** Flat. */
  readonly headers: readonly string[];
  readonly body: ShadowBody;
}

/** Why there is no whole copy. `broke`: nor did the client get a whole answer. */
export type NotTapped = "too-large" | "full" | "streaming" | "late" | "broke";

/** Copies an answer while it goes to the client, up to a limit. */
export class ReadTap implements AnswerTap {
  /** Among those that are open. */
  place = 0;
  readonly #body: ShadowBody;
  readonly #done: (answer: TappedAnswer | NotTapped) => void;
  #status = 0;
  #headers: readonly string[] = [];
  #headMs: number | undefined;
  #isOver = false;

  /** @param done is told once */
  constructor(
    bytes: ShadowBytes,
    bytesMax: number,
    done: (answer: TappedAnswer | NotTapped) => void,
  ) {
    this.#body = new ShadowBody(bytes, bytesMax);
    this.#done = done;
  }

  head(status: number, headers: readonly string[]): void {
    this.#status = status;
    this.#headers = headers;
    this.#headMs = performance.now();
    if (isEventStream(headers)) this.#giveUp("streaming");
  }

  data(chunk: Buffer): void {
    if (this.#isOver) return;
    const problem = this.#body.add(chunk);
    if (problem !== undefined) this.#giveUp(problem);
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#done({ status: this.#status, headers: this.#headers, body: this.#body });
  }

  broke(): void {
    this.#giveUp("broke");
  }

  /** An answer that goes on and on is not waited for. */
  endOlder(beforeMs: number): void {
    if (this.#headMs !== undefined && this.#headMs < beforeMs) this.#giveUp("late");
  }

  #giveUp(why: NotTapped): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#body.free();
    this.#done(why);
  }
}
