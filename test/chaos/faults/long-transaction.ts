import { randomUUID } from "node:crypto";
import { did, didNot, type Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";
import { inSession } from "../session.ts";

/** Open for long, with writes at its beginning and its end; or prepared, and settled later by another session. */
export const longTransaction: Fault = {
  name: "long transaction",
  needs: [],
  isEarly: true,
  async run({ source }, random, signal) {
    const ms = between(random, 1_000, 8_000);
    const end = oneOf(random, ["COMMIT", "COMMIT", "ROLLBACK"] as const);
    const done = await inSession(source.url, async (client) => {
      await client.query(`BEGIN; ${write("begun")}`);
      await pause(ms, signal);
      await client.query(`${write("ended")}; ${end}`);
      return true;
    });
    return done === true ? did(`open for ${seconds(ms)}, ${end}`) : didNot("lost with its server");
  },
};

export const preparedTransaction: Fault = {
  name: "prepared transaction",
  needs: [],
  isEarly: true,
  async run({ source }, random, signal) {
    const ms = between(random, 500, 6_000);
    const name = `chaos ${randomUUID()}`;
    const isPrepared = await inSession(source.url, async (client) => {
      await client.query(`BEGIN; ${write("prepared")}; PREPARE TRANSACTION '${name}'`);
      return true;
    });
    await pause(ms, signal);
    // It outlives a crash, and would hold the log for ever.
    const end = random() < 0.75 ? "COMMIT" : "ROLLBACK";
    const settled = await settle(source.url, name, end);
    const text = settled ? `${end} after ${seconds(ms)}` : "left behind";
    return isPrepared === true ? did(text) : didNot(`perhaps prepared, ${text}`);
  },
};

const SETTLE_ATTEMPTS_MAX = 60;

async function settle(url: string, name: string, end: string): Promise<boolean> {
  for (let attempt = 0; attempt < SETTLE_ATTEMPTS_MAX; attempt++) {
    const settled = await inSession(url, async (client) => {
      const { rowCount } = await client.query("SELECT FROM pg_prepared_xacts WHERE gid = $1", [
        name,
      ]);
      if (rowCount === 1) await client.query(`${end} PREPARED '${name}'`);
      return true;
    });
    if (settled === true) return true;
    await new Promise((done) => setTimeout(done, 250));
  }
  return false;
}

/** Rows of its own, and one old order that others may change, too. */
function write(word: string): string {
  return `INSERT INTO orders (customer_id, note) VALUES (1, '${word}');
    UPDATE orders SET note = '${word} ' || clock_timestamp() WHERE id = (SELECT min(id) FROM orders);
    INSERT INTO customers (email, full_name) VALUES (gen_random_uuid() || '@example.org', '${word}')`;
}
