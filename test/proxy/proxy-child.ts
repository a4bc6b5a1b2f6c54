import { PostgresRolloutState } from "../../connectors/postgres/rollout-state.ts";
import { startProxy } from "../../src/proxy/proxy.ts";
import type { ProxySettings } from "../../src/proxy/settings.ts";

/** A proxy in a process of its own, to be killed. Writes its port and its instance as one line of JSON. */
const [url, settings] = process.argv.slice(2);
const proxy = await startProxy({
  settings: JSON.parse(settings!) as ProxySettings,
  state: new PostgresRolloutState(url!, "shop"),
});
const { port } = proxy.address;
process.stdout.write(`${JSON.stringify({ port, instance: proxy.place.instance })}\n`);
