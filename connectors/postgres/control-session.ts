import type pg from "pg";
import { connect, destroy, disconnect } from "./session.ts";
import { classify, isUnanswered, sqlstateOf } from "./sqlstate.ts";
import { Turns } from "../../src/runtime/turns.ts";

/** A server that has not answered a short question by then is gone, or the network before it. */
const ANSWER_MS_MAX = 60_000;
/** admin_shutdown, crash_shutdown, cannot_connect_now */
const SHUTTING_DOWN: readonly string[] = ["57P01", "57P02", "57P03"];

/**
 * One session for short questions to the server, opened when first needed and again after it broke.
 * Questions asked at the same time are answered one after the other.
 */
export class ControlSession {
  readonly #url: string;
  readonly #applicationName: string;
  readonly #onShutdown: () => void;
  readonly #answerMsMax: number;
  #client: Promise<pg.Client> | undefined;
  #closed = false;
  readonly #turns = new Turns();

  /** @param onShutdown told when a question fails because the server shuts down, or may do so */
  constructor(
    url: string,
    applicationName: string,
    onShutdown: () => void = () => undefined,
    answerMsMax = ANSWER_MS_MAX,
  ) {
    this.#url = url;
    this.#applicationName = applicationName;
    this.#onShutdown = onShutdown;
    this.#answerMsMax = answerMsMax;
  }

  /**
   * @param doing for the message of an error
   * @throws BanyanError as `classify` says
   */
  async query<Row>(doing: string, sql: string, params: readonly unknown[] = []): Promise<Row[]> {
    // One after the other here, and not in the driver, which is about to refuse that.
    const giveTurn = await this.#turns.take();
    try {
      return await this.#query<Row>(doing, sql, params);
    } finally {
      giveTurn();
    }
  }

  async #query<Row>(doing: string, sql: string, params: readonly unknown[]): Promise<Row[]> {
    let client: pg.Client | undefined;
    try {
      client = await this.#open();
      const result = await client.query(sql, [...params]);
      return result.rows as Row[];
    } catch (error) {
      if (client !== undefined && isUnanswered(error)) {
        // On this connection the next question would wait as long.
        this.#client = undefined;
        destroy(client);
      }
      if (SHUTTING_DOWN.includes(sqlstateOf(error))) this.#onShutdown();
      throw classify(error, "source", doing);
    }
  }

  /** Of a question that always has one answer row. */
  async one<Row>(doing: string, sql: string, params: readonly unknown[] = []): Promise<Row> {
    return (await this.query<Row>(doing, sql, params))[0]!;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const client = await this.#client?.catch(() => undefined);
    if (client !== undefined) await disconnect(client);
  }

  #open(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    const opening = this.#connect();
    this.#client = opening;
    // Only this one: meanwhile another may have taken its place.
    const forget = (): void => {
      if (this.#client === opening) this.#client = undefined;
    };
    opening.then((client) => {
      client.once("end", forget);
      client.once("error", forget);
    }, forget);
    return opening;
  }

  async #connect(): Promise<pg.Client> {
    const client = await connect({
      url: this.#url,
      applicationName: this.#applicationName,
      answerMsMax: this.#answerMsMax,
    });
    if (this.#closed) await disconnect(client);
    return client;
  }
}
