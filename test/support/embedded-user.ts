import { startEmbeddedPostgres } from "../../connectors/embedded/embedded-postgres.ts";

/**
 * A process that uses an embedded server: prints `{port, attached, url}` as one line, then waits
 * to be killed, or for its standard input to end, upon which it leaves.
 */
const [dir] = process.argv.slice(2);
if (dir === undefined) throw new Error("name the folder");
const server = await startEmbeddedPostgres({ dir, flags: ["-c", "fsync=off"] });
const { port, attached } = server;
process.stdout.write(`${JSON.stringify({ port, attached, url: server.url("postgres") })}\n`);
process.stdin.resume();
process.stdin.once("end", () => void server.stop("fast"));
