import type { CommandModule } from "yargs";
import { count, note, writeResult } from "../output.ts";
import type { CommonArgs } from "../session.ts";
import { openRolloutState } from "../wire.ts";
import { loadConfig, type LoadedConfig } from "../../config/load-config.ts";
import { BanyanError } from "../../model/errors.ts";
import { describeAddress } from "../../proxy/listen-address.ts";
import type { RunningProxy } from "../../proxy/proxy.ts";
import type { ProxySettings } from "../../proxy/settings.ts";
import { aborted } from "../../runtime/aborted.ts";
import { withShutdown, type Scope } from "../../runtime/shutdown.ts";

/** What is under way at the first signal gets so long to end, */
const DRAIN_MS_MAX = 25_000;
/** and everything together so long. */
const GRACE_MS = 30_000;

/** What `banyan proxy --json` writes when it has ended. */
export interface ProxyDocument {
  readonly listen: string;
  readonly requests: number;
  /** Whether all that was under way ended by itself. */
  readonly drained: boolean;
}

export const proxyCommand: CommandModule<object, CommonArgs> = {
  command: "proxy",
  describe: "One address in front of the legacy application and the new service, until stopped",
  handler: async (args) => {
    const config = await loadConfig(args.config, { withProxy: true });
    const settings = settingsOf(config);
    const document = await withShutdown({ graceMs: GRACE_MS }, (scope) =>
      serve(config, settings, scope),
    );
    writeResult(args.json, document, () => summaryOf(document));
  },
};

function settingsOf({ file, proxy }: LoadedConfig): ProxySettings {
  if (proxy !== undefined) return proxy;
  throw new BanyanError("CONFIG_INVALID", `${file}: there is no proxy in it`, {
    hint: "Add proxy: { listen, upstreams, routes }; see docs/6-proxy.md",
  });
}

async function serve(
  config: LoadedConfig,
  settings: ProxySettings,
  { signal, defer }: Scope,
): Promise<ProxyDocument> {
  const rollout = await openRolloutState(config);
  defer(() => rollout.close());
  const { state, traffic, shadowLog } = rollout;
  const { startProxy } = await import("../../proxy/proxy.ts");
  const proxy = await startProxy({ settings, state, traffic, shadowLog, onNote: note });
  const listen = describeAddress(proxy.address);
  note(`listening on ${listen}; the rollout is read from ${rollout.place}`);
  if (proxy.admin !== undefined) note(`admin plane on ${describeAddress(proxy.admin)}`);
  await Promise.race([aborted(signal), proxy.drainAsked]);
  note("draining: no new connections; what is under way may end");
  const drained = await drain(proxy);
  return { listen, requests: proxy.metrics.requests, drained };
}

async function drain(proxy: RunningProxy): Promise<boolean> {
  const late = AbortSignal.timeout(DRAIN_MS_MAX);
  await proxy.close(late);
  return !late.aborted;
}

function summaryOf({ requests, drained }: ProxyDocument): string {
  const how = drained ? "all that was under way has ended" : "what had not ended was cut off";
  return `stopped after ${count(requests)} requests; ${how}. Run it again to go on.`;
}
