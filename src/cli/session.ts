import { openSource, openStore } from "./wire.ts";
import { loadConfig, type LoadedConfig, type LoadOptions } from "../config/load-config.ts";
import { withShutdown, type Scope } from "../runtime/shutdown.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { EventStore } from "../store/event-store.ts";

/** Options that every command takes. */
export interface CommonArgs {
  readonly config: string | undefined;
  readonly json: boolean;
}

const GRACE_MS = 30_000;

export interface Session {
  readonly config: LoadedConfig;
  readonly scope: Scope;
  /** Opened on first use, closed at the end. */
  readonly source: () => Promise<ChangeSource>;
  readonly store: () => Promise<EventStore>;
}

/** Runs a command with its config, and closes what it opened, last in first out. */
export async function withSession(
  args: CommonArgs,
  run: (session: Session) => Promise<void>,
  options: LoadOptions = {},
): Promise<void> {
  const config = await loadConfig(args.config, options);
  await withShutdown({ graceMs: GRACE_MS }, async (scope) => {
    let source: Promise<ChangeSource> | undefined;
    let store: Promise<EventStore> | undefined;
    await run({
      config,
      scope,
      source: () => (source ??= openSourceIn(config, scope)),
      store: () => (store ??= openStoreIn(config, scope)),
    });
  });
}

async function openSourceIn(config: LoadedConfig, scope: Scope): Promise<ChangeSource> {
  const source = await openSource(config);
  scope.defer(() => source.close());
  return source;
}

async function openStoreIn(config: LoadedConfig, scope: Scope): Promise<EventStore> {
  const opened = await openStore(config);
  scope.defer(() => opened.close());
  return opened.store;
}
