import {
  becomes,
  changed,
  changes,
  child,
  defineMigration,
  deleted,
  env,
  inserted,
  stream,
  updated,
} from "banyan";
import {
  customers,
  orderLines,
  orders,
  payments,
  products,
  shipments,
  stockLevels,
} from "./tables.ts";

const CUSTOMER = { stream: "customer", idForm: "integer" } as const;
const ORDER = { stream: "order", id: { path: "id" }, idForm: "integer" } as const;

/** Fewer than the default, for a demonstration. */
const samples = process.env["SHOP_GATE_SAMPLES"];
const movedSamples = process.env["SHOP_GATE_MOVED_SAMPLES"];

export default defineMigration({
  name: "shop",
  source: { kind: "postgres", url: env("SHOP_URL") },
  // Without EVENTS_URL the events go to a Postgres of Banyan's own, in .banyan/store beside this file.
  store:
    process.env["EVENTS_URL"] === undefined
      ? { kind: "embedded" }
      : { kind: "postgres", url: env("EVENTS_URL") },
  streams: {
    customer: stream(customers, {
      validTime: "updated_at",
      events: {
        CustomerRegistered: inserted(customers),
        CustomerMoved: updated(customers, { address: changes() }),
        LoyaltyPointsChanged: updated(customers, { loyalty_points: changes() }),
        CustomerErased: deleted(customers),
      },
      otherwise: "CustomerAmended",
    }),

    product: stream(products, {
      children: { stock: child(stockLevels, { sku: "sku" }) },
      validTime: "updated_at",
      events: {
        ProductListed: inserted(products, { with: [stockLevels] }),
        ProductPriceChanged: updated(products, { price: changes() }),
        ProductDiscontinued: updated(products, { active: becomes(false) }),
        StockMoved: updated(stockLevels, { quantity: changes() }),
        ProductRemoved: deleted(products),
      },
      otherwise: "ProductAmended",
    }),

    order: stream(orders, {
      children: {
        lines: child(orderLines, { order_id: "id" }),
        payments: child(payments, { order_id: "id" }, { validTime: "captured_at" }),
        shipments: child(shipments, { order_id: "id" }),
      },
      validTime: "updated_at",
      events: {
        OrderPlaced: inserted(orders, { with: [orderLines] }),
        OrderPaid: updated(
          orders,
          { status: becomes("paid") },
          { data: ["paid_at", "updated_at"] },
        ),
        OrderShipped: updated(orders, { status: becomes("shipped") }, { data: ["updated_at"] }),
        OrderDelivered: updated(orders, { status: becomes("delivered") }, { data: ["updated_at"] }),
        OrderCancelled: updated(
          orders,
          { status: becomes("cancelled") },
          { data: ["cancel_reason", "updated_at"] },
        ),
        OrderRefunded: updated(orders, { status: becomes("refunded") }, { data: ["updated_at"] }),
        OrderTotalChanged: updated(orders, { total: changes() }, { data: ["updated_at"] }),
        OrderDeleted: deleted(orders),
        LineAdded: inserted(orderLines),
        LineChanged: updated(orderLines, changed("quantity", "unit_price", "discount")),
        LineRemoved: deleted(orderLines),
        PaymentCaptured: inserted(payments),
        PaymentRefunded: updated(payments, { refunded: changes() }),
        ParcelsShipped: inserted(shipments),
        ParcelsDelivered: updated(shipments, { delivered_at: changes() }),
      },
      otherwise: "OrderAmended",
    }),
  },
  // Times, and ids that each shop makes up by itself.
  dual: {
    normalise: {
      customer: { ignore: ["registered_at", "updated_at"] },
      order: {
        ignore: [
          "updated_at",
          "placed_at",
          "paid_at",
          "payments.captured_at",
          "shipments.shipped_at",
          "shipments.delivered_at",
          "shipments.transit",
        ],
        generated: { payments: ["id"], shipments: ["id"] },
      },
    },
  },
  rollout: {
    gates: {
      ...(samples !== undefined && {
        dualSamplesMin: Number(samples),
        shadowSamplesMin: Number(samples),
      }),
      ...(movedSamples !== undefined && { trafficSamplesMin: Number(movedSamples) }),
    },
  },
  // One address in front of the legacy shop (main.ts) and the new one (new-main.ts).
  proxy: {
    listen: process.env["SHOP_PROXY_LISTEN"] ?? "127.0.0.1:8000",
    admin: { listen: process.env["SHOP_PROXY_ADMIN_LISTEN"] ?? "127.0.0.1:8001" },
    upstreams: {
      legacy: { url: env("SHOP_LEGACY_HTTP", "http://127.0.0.1:8080"), healthPath: "/healthz" },
      new: { url: env("SHOP_NEW_HTTP", "http://127.0.0.1:8081"), healthPath: "/healthz" },
    },
    routes: [
      { method: "POST", path: "/customers", kind: "create", ...CUSTOMER, created: { json: "id" } },
      {
        method: "PUT",
        path: "/customers/:id/city",
        kind: "write",
        ...CUSTOMER,
        id: { path: "id" },
      },
      { method: "GET", path: "/orders/:id", kind: "read", ...ORDER },
      { method: ["PUT", "DELETE"], path: "/orders/:id", kind: "write", ...ORDER },
      { method: "POST", path: "/orders/:id/pay", kind: "write", ...ORDER },
      { method: "POST", path: "/orders/:id/ship", kind: "write", ...ORDER },
      { method: "POST", path: "/orders/:id/deliver", kind: "write", ...ORDER },
      { method: "POST", path: "/orders/:id/cancel", kind: "write", ...ORDER },
      { method: "POST", path: "/orders/:id/refund", kind: "write", ...ORDER },
      { method: "POST", path: "/orders/:id/save", kind: "write", ...ORDER },
      // Two orders, of which one may have moved and the other not: nobody sends this header, so that at
      // canary it is refused.
      {
        method: "POST",
        path: "/orders/:id/merge",
        kind: "write",
        stream: "order",
        id: { header: "x-no-single-order" },
      },
      { method: "POST", path: "/orders", kind: "create", stream: "order", created: { json: "id" } },
    ],
  },
});
