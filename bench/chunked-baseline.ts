import { ratio, say, spread, timed, whole, withServer } from "./support.ts";
import { capture, prepare } from "./workload.ts";

/**
 * A baseline in chunks beside the log, with the one under a single snapshot as its peer: the same rows,
 * on the same server, one after the other in turns.
 */
export async function benchChunkedBaseline(options: {
  readonly rows: number;
  readonly rounds: number;
  readonly identity: "full" | "default";
}): Promise<void> {
  const { rows, rounds, identity } = options;
  say(`\n== ${whole(rows)} rows baselined in chunks and under one snapshot, ${identity}`);
  const rates = { snapshot: [] as number[], chunked: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    await withServer(async (server) => {
      await server.createDatabase("source");
      await prepare(server.url("source"), rows, identity);
      const order =
        round % 2 === 0 ? (["snapshot", "chunked"] as const) : (["chunked", "snapshot"] as const);
      for (const baseline of order) {
        await server.createDatabase(baseline);
        const { seconds } = await timed(() =>
          capture({
            sourceUrl: server.url("source"),
            storeUrl: server.url(baseline),
            slot: `bench_${baseline}`,
            isDone: ({ phase }) => phase === "tail",
            baseline,
          }),
        );
        rates[baseline].push(rows / seconds);
      }
    });
  }
  const ratios = rates.chunked.map((rate, i) => rate / rates.snapshot[i]!);
  say(`one snapshot       ${spread(rates.snapshot)} rows/s`);
  say(
    `in chunks          ${spread(rates.chunked)} rows/s, ratio ${spread(ratios, ratio)} (bar 0.7)`,
  );
}
