import type pg from "pg";
import { connect, destroy, disconnect } from "./session.ts";
import { classify, isUnanswered } from "./sqlstate.ts";

/** A server that has not answered a short question by then is gone, or the network before it. */
const ANSWER_MS_MAX = 60_000;

/**
 * One session for short questions to the server, opened when first needed and again after it broke.
 * Questions asked at the same time are answered one after the other.
 */
export class ControlSession {
  readonly #url: string;
  readonly #applicationName: string;
  readonly #answerMsMax: number;
  #client: Promise<pg.Client> | undefined;
  #closed = false;

  constructor(url: string, applicationName: string, answerMsMax = ANSWER_MS_MAX) {
    this.#url = url;
    this.#applicationName = applicationName;
    this.#answerMsMax = answerMsMax;
  }

  /**
   * @param doing for the message of an error
   * @throws BanyanError as `classify` says
   */
  async query<Row>(doing: string, sql: string, params: readonly unknown[] = []): Promise<Row[]> {
    const client = await this.#open();
    try {
      const result = await client.query(sql, [...params]);
      return result.rows as Row[];
    } catch (error) {
      // It would give the late answer to the next question.
      if (isUnanswered(error)) destroy(client);
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

  async #open(): Promise<pg.Client> {
    this.#client ??= this.#connect();
    return await this.#client;
  }

  async #connect(): Promise<pg.Client> {
    try {
      const client = await connect({
        url: this.#url,
        applicationName: this.#applicationName,
        answerMsMax: this.#answerMsMax,
      });
      client.once("end", () => (this.#client = undefined));
      client.once("error", () => (this.#client = undefined));
      if (this.#closed) await disconnect(client);
      return client;
    } catch (error) {
      this.#client = undefined;
      throw error;
    }
  }
}
