/** Who does it and why: told in the transaction, so that the events can say it. */
export interface Doer {
  readonly actor: string;
  readonly reason?: string;
  /** Of the request; the proxy gives it to both applications. */
  readonly correlationId?: string;
}

export interface NewLine {
  readonly sku: string;
  readonly quantity: number;
}

/** A request that the shop's rules refuse; `status` is that of the HTTP answer. */
export class Refusal extends Error {
  readonly status: 404 | 409 | 422;

  constructor(status: 404 | 409 | 422, message: string) {
    super(message);
    this.status = status;
  }
}

/** What can be done with orders, whichever application does it. `Who` is what it needs to know of a request. */
export interface OrderDesk<Who> {
  order(id: string): Promise<unknown>;
  placeOrder(customerId: string, lines: readonly NewLine[], who: Who): Promise<string>;
  amendOrder(
    id: string,
    lines: readonly NewLine[],
    note: string | undefined,
    who: Who,
  ): Promise<void>;
  deleteOrder(id: string, who: Who): Promise<void>;
  payOrder(id: string, cardWorks: boolean, who: Who): Promise<void>;
  shipOrder(id: string, carrier: string, parcelsG: readonly number[], who: Who): Promise<void>;
  deliverOrder(id: string, who: Who): Promise<void>;
  cancelOrder(id: string, who: Who): Promise<void>;
  refundOrder(id: string, who: Who): Promise<void>;
  saveUnchanged(id: string, who: Who): Promise<void>;
  mergeOrders(from: string, into: string, who: Who): Promise<void>;
}
