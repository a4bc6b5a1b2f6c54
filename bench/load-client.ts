/**
 * An application at work on the benchmark's table, in a process of its own: so many clients, each with one
 * transaction after the other. Usage: load-client.ts <url> <clients> <rows> <transactions a second, 0 for all it can>
 *
 * Prints a line of JSON every second: transactions done, and how long the slowest of a hundred took. Ends
 * with its standard input.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../connectors/postgres/session.ts";

const [url, clients, rows, rate] = process.argv.slice(2);
const perClient = Number(rate) / Number(clients);
let done = 0;
let tookMs: number[] = [];
let over = false;
process.stdin.on("end", () => (over = true)).resume();

async function client(): Promise<void> {
  const session = await connect({ url: url!, applicationName: "shop" });
  const startedMs = performance.now();
  for (let n = 0; !over; n++) {
    if (perClient > 0) {
      const dueMs = startedMs + (n * 1000) / perClient - performance.now();
      if (dueMs > 1) await sleep(dueMs);
    }
    const id = 1 + Math.floor(Math.random() * Number(rows));
    const beganMs = performance.now();
    await session.query("BEGIN");
    await session.query(
      "UPDATE public.items SET amount = amount + 1, updated_at = now() WHERE id = $1",
      [id],
    );
    await session.query("SELECT * FROM public.items WHERE id = $1", [id + 1]);
    await session.query("COMMIT");
    tookMs.push(performance.now() - beganMs);
    done += 1;
  }
  await session.end();
}

const all = Promise.all(Array.from({ length: Number(clients) }, client));
while (!over) {
  await sleep(1_000);
  const sorted = tookMs.sort((a, b) => a - b);
  const p99Ms = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  process.stdout.write(`${JSON.stringify({ transactions: done, p99Ms })}\n`);
  done = 0;
  tookMs = [];
}
await all;
process.exit(0);
