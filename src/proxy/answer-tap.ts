/** Looks on while an answer goes to the client. Whatever it does, the answer is the same and as fast. */
export interface AnswerTap {
  /** @param headers flat, without those of one connection */
  head(status: number, headers: readonly string[]): void;
  /** A piece of the body, which the tap must copy if it keeps it. */
  data(chunk: Buffer): void;
  /** The answer is whole. */
  end(): void;
  /** It broke off after its head, or there never was one. */
  broke(): void;
}

/** Looks on while the body of a request goes to the upstream. */
export interface BodyTap {
  data(chunk: Buffer): void;
  end(): void;
  /** Nobody reads it to its end. */
  broke(): void;
}
