import { startTestProxy, until, type TestProxy, type TestProxyOptions } from "./proxy-support.ts";
import { MemoryShadowLog } from "../../connectors/memory/shadow-log.ts";
import type { ShadowSettings } from "../../src/proxy/settings.ts";
import type { ShadowState, ShadowTrial } from "../../src/proxy/shadow.ts";

const SHADOW: ShadowSettings = {
  reads: 1,
  noise: 0,
  // The thread that compares runs only when nobody else does, and others do while tests run.
  timeoutMs: 10_000,
  connectionsMax: 16,
  bodyBytesMax: 65_536,
  headers: [],
  showValues: true,
  except: [],
  normalise: [],
};

export interface ShadowProxy extends TestProxy {
  readonly log: MemoryShadowLog;
  shadow(): ShadowState;
  /** What came of all reads. */
  reads(): Pick<ShadowState["reads"][number], "compared" | "different" | "uncompared" | "dropped">;
  /** Waits until something came of so many reads, and gives what. */
  readsOf(count: number): Promise<ReturnType<ShadowProxy["reads"]>>;
}

export interface ShadowProxyOptions extends TestProxyOptions {
  readonly shadow?: Partial<ShadowSettings>;
  readonly trial?: ShadowTrial;
}

/** A proxy that compares and mirrors, at stage shadow unless told otherwise. */
export async function startShadowProxy(options: ShadowProxyOptions): Promise<ShadowProxy> {
  const log = new MemoryShadowLog();
  const proxy = await startTestProxy({
    rollout: { stage: "shadow" },
    ...options,
    settings: { shadow: { ...SHADOW, ...options.shadow }, ...options.settings },
    shadowLog: log,
    shadowTrial: { recheckMs: [20, 40], busy: () => 0, ...options.trial },
  });
  const shadow = (): ShadowState => proxy.proxy.shadow!.state;
  const reads: ShadowProxy["reads"] = () => {
    const sum = { compared: 0, different: 0, uncompared: 0, dropped: 0 };
    for (const one of shadow().reads)
      for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += one[name];
    return sum;
  };
  return {
    ...proxy,
    log,
    shadow,
    reads,
    async readsOf(count) {
      const settled = (): number => {
        const { compared, uncompared, dropped } = reads();
        return compared + uncompared + dropped;
      };
      await until(`${count} reads have come to something`, () => settled() >= count);
      return reads();
    },
  };
}

/** What a client sees of an answer. */
export async function ask(
  { url }: Pick<TestProxy, "url">,
  path: string,
  init?: RequestInit,
): Promise<{ status: number; body: string; tookMs: number }> {
  const startedMs = performance.now();
  const response = await fetch(url + path, { ...init, signal: AbortSignal.timeout(20_000) });
  const body = await response.text();
  return { status: response.status, body, tookMs: performance.now() - startedMs };
}
