import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { shopFolder, TABLES } from "../../examples/shop-postgres/seed.ts";
import type { Variant } from "./variant.ts";

export interface ShopConfigOptions {
  /** Where the config is. */
  readonly directory: string;
  readonly slot: string;
  readonly variant: Variant;
}

/** The shop's mapping as far as its tables are captured, and how. */
export class CapturedShop {
  readonly #options: ShopConfigOptions;
  #captured: readonly string[];

  constructor(options: ShopConfigOptions) {
    this.#options = options;
    this.#captured = TABLES.filter((table) => !options.variant.joining.includes(table));
    this.#write();
  }

  /** Names of the tables in the config. */
  get captured(): readonly string[] {
    return this.#captured;
  }

  /** Those that were left out come into the config. */
  join(): void {
    this.#captured = TABLES;
    this.#write();
  }

  #write(): void {
    const { directory, slot, variant } = this.#options;
    const chunks = variant.baseline === "chunked" ? CHUNKS : {};
    const config = `
import shop from ${JSON.stringify(join(shopFolder(), "banyan.config.ts"))};

const captured = new Set(${JSON.stringify(this.#captured)});
const isCaptured = ({ name }) => captured.has(name.split(".").at(-1));
const only = (members, isWanted) => Object.fromEntries(Object.entries(members).filter(([, one]) => isWanted(one)));
const streams = Object.entries(shop.streams).filter(([, { root }]) => isCaptured(root)).map(([type, one]) => [type, {
  ...one,
  children: only(one.children, ({ table }) => isCaptured(table)),
  events: only(one.events, ({ table }) => isCaptured(table)),
  truncate: type === "order" ? "events" : one.truncate,
}]);

export default {
  name: shop.name,
  store: shop.store,
  source: { ...shop.source, slot: ${JSON.stringify(slot)}, publication: "banyan_shop" },
  streams: Object.fromEntries(streams),
  limits: ${JSON.stringify({ ...LIMITS, ...chunks })},
};
`;
    writeFileSync(join(directory, "banyan.config.ts"), config);
  }
}

/** So small that a short round meets all of them. */
const LIMITS = { batchChangesMax: 200, transactionChangesMax: 1000, idleMs: 200 };
/** Many chunks, between which nothing rests. */
const CHUNKS = { baselineChunkRowsMax: 100, baselineSessionsMax: 1000, baselineSlowdownMax: 1 };
