import type pg from "pg";
import { EVENT_COPY_COLUMNS } from "../connectors/postgres/copy-encoder.ts";
import { disconnect } from "../connectors/postgres/session.ts";
import { copyIn } from "../connectors/postgres/store-copy.ts";
import { openSession } from "../connectors/postgres/store-session.ts";
import { readServerError, Wire } from "../connectors/postgres/wire.ts";

/** Events of a store as they are, in CopyData messages ready for the socket; one transaction's worth. */
export type EncodedBatch = readonly Buffer[];

const SIGNATURE = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
const TRAILER = Buffer.from([0xff, 0xff]);
const FRAME_BYTES = 256 * 1024;
const TAG = { copyData: 0x64, error: 0x45, ready: 0x5a } as const;

/** Reads stored events back in the order in which they were written. */
export async function readEncoded(
  url: string,
  origin: "baseline" | "capture",
  eventsPerBatch: number,
): Promise<EncodedBatch[]> {
  const client = await openSession(url);
  const encoder = new BatchEncoder(eventsPerBatch);
  await new Promise<void>((done, fail) => {
    let failure: Error | undefined;
    const wire = new Wire(
      client,
      (tag, body, start, end) => {
        if (tag === TAG.copyData) encoder.row(body.subarray(start, end));
        else if (tag === TAG.error) failure = new Error(readServerError(body, start, end).message);
        else if (tag === TAG.ready) {
          wire.release();
          if (failure === undefined) done();
          else fail(failure);
        }
      },
      fail,
    );
    wire.query(
      `COPY (SELECT ${EVENT_COPY_COLUMNS} FROM banyan.events WHERE origin = '${origin}' ORDER BY transaction_id, position) TO STDOUT (FORMAT binary)`,
    );
  });
  await disconnect(client);
  return encoder.finish();
}

/** The limit: the very same rows by binary COPY into the same table, a transaction per batch. */
export async function loadEncoded(
  client: pg.Client,
  batches: readonly EncodedBatch[],
): Promise<void> {
  for (const batch of batches) {
    await client.query("BEGIN");
    await copyIn(
      client,
      `COPY banyan.events (${EVENT_COPY_COLUMNS}) FROM STDIN (FORMAT binary)`,
      batch,
    );
    await client.query("COMMIT");
  }
}

class BatchEncoder {
  readonly #eventsPerBatch: number;
  readonly #batches: EncodedBatch[] = [];
  #frames: Buffer[] = [];
  #parts: Buffer[] = [SIGNATURE];
  #bytes = SIGNATURE.length;
  #events = 0;
  #started = false;

  constructor(eventsPerBatch: number) {
    this.#eventsPerBatch = eventsPerBatch;
  }

  /** One message of the server: a row, the first behind the signature, the last the trailer. */
  row(message: Buffer): void {
    const row = this.#started ? message : message.subarray(SIGNATURE.length);
    this.#started = true;
    if (row.length === 0 || row.equals(TRAILER)) return;
    if (this.#events === this.#eventsPerBatch) this.#endBatch();
    // The message lies in the socket's buffer, which is used again.
    this.#parts.push(Buffer.from(row));
    this.#bytes += row.length;
    this.#events += 1;
    if (this.#bytes >= FRAME_BYTES) this.#endFrame();
  }

  finish(): EncodedBatch[] {
    if (this.#events > 0) this.#endBatch();
    return this.#batches;
  }

  #endBatch(): void {
    this.#parts.push(TRAILER);
    this.#bytes += TRAILER.length;
    this.#endFrame();
    this.#batches.push(this.#frames);
    this.#frames = [];
    this.#parts = [SIGNATURE];
    this.#bytes = SIGNATURE.length;
    this.#events = 0;
  }

  #endFrame(): void {
    const head = Buffer.alloc(5);
    head[0] = TAG.copyData;
    head.writeInt32BE(4 + this.#bytes, 1);
    this.#frames.push(Buffer.concat([head, ...this.#parts]));
    this.#parts = [];
    this.#bytes = 0;
  }
}
