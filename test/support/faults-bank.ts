import pg from "pg";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import { createDatabase, type TestDatabase } from "./databases.ts";

/**
 * A small bank under traffic. One table tells the log whole old rows, the other only the key, so that
 * both ways to the row before a change are gone; triggers write down every change in the same
 * transaction, as the truth that events are held against.
 */
const SCHEMA = `
  CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL, balance numeric(12,2) NOT NULL DEFAULT 0, note text,
                        branch text DEFAULT 'main', points int DEFAULT 7);
  ALTER TABLE account REPLICA IDENTITY FULL;
  CREATE TABLE entry (account_id int NOT NULL REFERENCES account, no int NOT NULL, amount numeric(12,2) NOT NULL,
                      memo text, kind text DEFAULT 'cash', points int DEFAULT 7, PRIMARY KEY (account_id, no));
  CREATE TABLE noise (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text);
  CREATE SCHEMA audit;
  CREATE TABLE audit.changes (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(), relation text NOT NULL, operation text NOT NULL,
    old_row jsonb, new_row jsonb);
  CREATE FUNCTION audit.record() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO audit.changes (relation, operation, old_row, new_row)
    VALUES (TG_ARGV[0], lower(TG_OP), CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
  END $$;
  CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION audit.record('account');
  CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION audit.record('entry');`;

/** No rule claims anything, so that each change is one event of the fallback, whole. */
export function bankStreams(names = { account: "account", entry: "entry" }): Streams {
  const entries = child(table<Entry>(names.entry), { account_id: "id" });
  return {
    account: stream(table<Account>(names.account), {
      children: { entries },
      otherwise: "AccountAmended",
    }),
  };
}

type Streams = Readonly<Record<string, StreamRef>>;

interface Account {
  readonly id: number;
}

interface Entry {
  readonly account_id: number;
}

export interface Bank extends AsyncDisposable {
  readonly db: TestDatabase;
  readonly publication: string;
  readonly slot: string;
}

/** @param accounts with three entries each, there from the start */
export async function openBank(label: string, accounts = 60): Promise<Bank> {
  return await fillBank(await createDatabase(label), accounts);
}

/** Makes an empty database a bank; disposed with it. */
export async function fillBank(db: TestDatabase, accounts = 60): Promise<Bank> {
  await db.query(SCHEMA);
  await seedAccounts(db, accounts);
  const name = `bank_${db.name.slice(-8)}`;
  await db.query(`CREATE PUBLICATION ${name} FOR TABLE account, entry`);
  return {
    db,
    publication: name,
    slot: name,
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

async function seedAccounts(
  { query }: Pick<TestDatabase, "query">,
  accounts: number,
): Promise<void> {
  await query(
    `WITH made AS (INSERT INTO account (id, owner, note) SELECT i, 'owner ' || i, repeat(md5(i::text), 3)
                     FROM generate_series(1, $1::int) i RETURNING id)
     INSERT INTO entry (account_id, no, amount, memo)
     SELECT id, no, no * 10, repeat('ä' || id, 2) FROM (SELECT id FROM made) m, generate_series(1, 3) no`,
    [accounts],
  );
}

export interface Traffic extends AsyncDisposable {
  /** Committed so far. */
  transactions(): number;
  /** Ends after the transactions under way; rejects when one failed in a way the traffic does not expect. */
  stop(): Promise<void>;
}

export interface TrafficOptions {
  readonly url: string;
  readonly seed: number;
  /** Accounts there at the start. */
  readonly accounts?: number;
  readonly pauseMs?: number;
  /** Goes on when the server does not answer, as an application does. */
  readonly patient?: boolean;
}

/** Keeps the keys of one traffic apart from those of the one before on the same bank. */
let trafficsStarted = 0;

/** Makes the traffic wait until the transaction that says it has ended: for what locks more than one row, which could deadlock with it. */
export const HOLD_TRAFFIC = "SELECT pg_advisory_xact_lock(1)";
const WAIT_WHILE_HELD = "SELECT pg_advisory_xact_lock_shared(1)";

/** Two sessions, each on accounts of its own, so that commits interleave and never wait for each other. */
const SESSIONS = 2;

export function startTraffic(options: TrafficOptions): Traffic {
  trafficsStarted += 1;
  const end = new AbortController();
  const tellers = Array.from({ length: SESSIONS }, (_, i) => new Teller(options, i));
  const all = Promise.all(tellers.map((teller) => teller.run(end.signal)));
  all.catch(() => undefined);
  const stop = async (): Promise<void> => {
    end.abort();
    await all;
  };
  return {
    transactions: () => tellers.reduce((sum, teller) => sum + teller.transactions, 0),
    stop,
    [Symbol.asyncDispose]: () => stop().catch(() => undefined),
  };
}

class Teller {
  transactions = 0;
  readonly #options: TrafficOptions;
  readonly #number: number;
  readonly #random: () => number;
  readonly #accounts: number[];
  #next: number;
  #entries: number;
  #client: pg.Client | undefined;

  constructor(options: TrafficOptions, number: number) {
    this.#options = options;
    this.#number = number;
    this.#random = randomFrom(options.seed * SESSIONS + number);
    const ids = Array.from({ length: options.accounts ?? 60 }, (_, i) => i + 1);
    this.#accounts = ids.filter((id) => id % SESSIONS === number);
    this.#entries = trafficsStarted * 1_000_000;
    this.#next = trafficsStarted * 1_000_000 + number;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { pauseMs = 2, patient = false } = this.#options;
    try {
      while (!signal.aborted) {
        try {
          await this.#transaction();
          this.transactions += 1;
        } catch (error) {
          if (!patient) throw error;
          void this.#client?.end().catch(() => undefined);
          this.#client = undefined;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    } finally {
      await this.#client?.end().catch(() => undefined);
    }
  }

  async #transaction(): Promise<void> {
    const client = (this.#client ??= await connected(this.#options.url));
    await client.query(`BEGIN; ${WAIT_WHILE_HELD}`);
    const acts = 1 + this.#below(3);
    for (let i = 0; i < acts; i++) await this.#act(client);
    await client.query(this.#random() < 0.1 ? "ROLLBACK" : "COMMIT");
  }

  async #act(client: pg.Client): Promise<void> {
    const id = this.#accounts[this.#below(this.#accounts.length)]!;
    const say = (sql: string, ...params: unknown[]): Promise<unknown> => client.query(sql, params);
    const dice = this.#random();
    if (dice < 0.15) {
      const opened = this.#next;
      this.#next += SESSIONS;
      await say("INSERT INTO account (id, owner) VALUES ($1, $2)", opened, `new ${opened}`);
      await say("INSERT INTO entry VALUES ($1, 1, 5, $2)", opened, this.#text(20));
      // Deletes and updates find it only sometimes: a rollback takes it away.
      this.#accounts.push(opened);
    } else if (dice < 0.45) {
      const amount = (this.#below(10_000) / 100).toFixed(2);
      await say(
        `INSERT INTO entry SELECT id, $2::int, $3::numeric, $4 FROM account WHERE id = $1`,
        ...[id, this.#entries++, amount, this.#text(this.#random() < 0.2 ? 6_000 : 30)],
      );
      await say("UPDATE account SET balance = balance + $2 WHERE id = $1", id, amount);
    } else if (dice < 0.6) {
      await say("UPDATE account SET owner = $2 WHERE id = $1", id, this.#text(12));
    } else if (dice < 0.7) {
      await say("UPDATE account SET note = $2 WHERE id = $1", id, this.#text(5_000));
    } else if (dice < 0.8) {
      // A long memo is not repeated in the log.
      await say("UPDATE entry SET amount = amount + 1 WHERE account_id = $1", id);
    } else if (dice < 0.85) {
      await say("UPDATE account SET owner = owner, note = note WHERE id = $1", id);
    } else if (dice < 0.9) {
      await say("INSERT INTO noise (word) VALUES ($1)", this.#text(10));
    } else if (dice < 0.95) {
      await say("DELETE FROM entry WHERE account_id = $1 AND no % 2 = 0", id);
    } else if (dice < 0.98) {
      await client.query("SAVEPOINT attempt");
      await say("DELETE FROM entry WHERE account_id = $1", id);
      await say("DELETE FROM account WHERE id = $1", id);
      if (this.#random() < 0.5) await client.query("ROLLBACK TO attempt");
    } else {
      // Enough rows for a COPY of events.
      await say(
        "UPDATE entry SET memo = $3 || no WHERE account_id % $1 = $2",
        ...[SESSIONS, this.#number, this.#text(8)],
      );
    }
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** Not to be compressed, so that a long one is stored out of line. */
  #text(length: number): string {
    let text = "";
    while (text.length < length) text += String.fromCharCode(97 + this.#below(26));
    return `${text}\\é'"`;
  }
}

/** A busy machine takes its time. */
const CONNECT_MS_MAX = 30_000;

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS_MAX });
  client.on("error", () => undefined);
  await client.connect();
  return client;
}
