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
  /** Opened on first use, closed at the end. One that could not be opened is opened by the next use. */
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
    await run({
      config,
      scope,
      source: once(() => openSourceIn(config, scope)),
      store: once(() => openStoreIn(config, scope)),
    });
  });
}

function once<Opened>(open: () => Promise<Opened>): () => Promise<Opened> {
  let opened: Promise<Opened> | undefined;
  return () =>
    (opened ??= open().catch((error: unknown) => {
      opened = undefined;
      throw error;
    }));
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
