import { BanyanError } from "banyan";
import type { AggregateStore, Aggregates, Decided, RequestContext, StateOf } from "banyan";
import type config from "./banyan.config.ts";
import type { CustomerDesk, NewCustomer } from "./customer-routes.ts";
import { Refusal } from "./order-desk.ts";

type Streams = (typeof config)["streams"];
type Customer = StateOf<Streams["customer"]>;

/**
 * Customers as streams of events. That no two have the same e-mail spans all of them, and while both shops
 * register customers only the unique key of the legacy table sees them all. So it has the last word: nobody
 * is told that he is registered before his row is there, and a customer whose row is refused is taken back.
 * Once legacy's rows have ended the store alone keeps two registrations of one moment apart.
 */
export class NewCustomers implements CustomerDesk<RequestContext> {
  readonly #customers: Aggregates<Streams["customer"]>;

  constructor(store: AggregateStore<Streams>) {
    this.#customers = store.aggregates("customer", { unique: ["email"] });
  }

  async registerCustomer(
    { email, fullName, city }: NewCustomer,
    context: RequestContext,
  ): Promise<string> {
    const { CustomerRegistered } = this.#customers.events;
    const registration = this.#customers.create(context, async (id) => {
      // Most who are there already are found here; those of this very moment when the events are stored, or
      // by their row.
      const [holder] = await this.#customers.holders("email", email, context);
      if (holder !== undefined) throw taken(email);
      const now = new Date().toISOString();
      return [
        CustomerRegistered({
          id,
          email,
          full_name: fullName,
          address: JSON.stringify({ city }),
          loyalty_points: 0,
          marketing_ok: false,
          registered_at: now,
          updated_at: now,
        }),
      ];
    });
    const registered = await registration.catch((error: unknown) => {
      throw error instanceof BanyanError && error.code === "VALUE_TAKEN" ? taken(email) : error;
    });
    await this.#settle(registered, email, context);
    return registered.id;
  }

  async moveCustomer(id: string, city: string, context: RequestContext): Promise<void> {
    await this.#customers.execute(context, BigInt(id).toString(), (customer) => {
      if (customer === undefined) throw new Refusal(404, `there is no customer ${id}`);
      const address = { ...(JSON.parse(customer.address) as object), city };
      const updated_at = new Date().toISOString();
      return [
        this.#customers.become({ ...customer, address: JSON.stringify(address), updated_at }),
      ];
    });
  }

  /** Waits for the customer's row. Without one there is no customer, and the request may come again. */
  async #settle(
    { id, version, outcome }: Decided<Customer>,
    email: string,
    context: RequestContext,
  ): Promise<void> {
    const rows = await this.#customers.writtenBack(context, { id, version });
    if (rows.outcome === "conflict" || rows.outcome === "waiting") {
      const back = { command: "taken back" };
      await this.#customers.execute(context, id, () => [this.#customers.become(undefined)], back);
      throw rows.outcome === "conflict"
        ? taken(email)
        : Object.assign(new Error("legacy's rows are behind"), { statusCode: 503 });
    }
    // The same request may have been taken back the first time.
    if (outcome === "repeated" && (await this.#customers.load(id)).state === undefined)
      throw taken(email);
  }
}

function taken(email: string): Refusal {
  return new Refusal(409, `there is a customer ${email} already`);
}
