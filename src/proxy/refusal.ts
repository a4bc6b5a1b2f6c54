import { STATUS_CODES } from "node:http";

/**
 * Why the proxy answers a request itself: the code is in the header `banyan-refused`, in the access log and
 * in the metrics. docs/6-proxy.md has a line for each; a test keeps the two equal.
 */
export const REFUSALS = {
  framing: 400,
  target: 400,
  "ambiguous-path": 400,
  "no-aggregate-id": 400,
  method: 405,
  "slow-request": 408,
  expectation: 417,
  "large-headers": 431,
  version: 505,
  loop: 508,
  "authority-unknown": 503,
  "held-too-long": 503,
  "too-many-held": 503,
  "upstream-busy": 503,
  "upstream-down": 503,
  "upstream-failed": 502,
  "upstream-slow": 504,
} as const;

export type Refusal = keyof typeof REFUSALS;

/** After so long the same request may be answered. */
export const RETRY_AFTER_SECONDS = 1;

/** The whole of an answer to a client whose request could not be understood. */
export function rawAnswer(refusal: Refusal): string {
  const status = REFUSALS[refusal];
  const body = bodyOf(refusal);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nbanyan-refused: ${refusal}\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
}

export function bodyOf(refusal: Refusal): string {
  return `banyan proxy: ${refusal}\n`;
}
