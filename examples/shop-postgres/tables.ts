import { table } from "banyan";

/*
 * The tables as the mapping sees them. Each column has its JSON form: text for what JSON numbers
 * would not hold exactly (bigint, numeric, json, arrays), ISO 8601 for times, base64 for bytes.
 */

export type OrderStatus = "placed" | "paid" | "shipped" | "delivered" | "cancelled" | "refunded";

export const customers = table<{
  id: string;
  email: string;
  full_name: string;
  phone: string | null;
  address: string;
  loyalty_points: number;
  marketing_ok: boolean;
  registered_at: string;
  updated_at: string;
}>("customers");

export const products = table<{
  sku: string;
  name: string;
  price: string;
  currency: string;
  tags: string;
  box_cm: string | null;
  weight_kg: string | null;
  active: boolean;
  details: string;
  updated_at: string;
}>("products");

export const stockLevels = table<{
  warehouse: string;
  sku: string;
  quantity: number;
  reorder_level: number | null;
  counted_on: string | null;
}>("stock_levels");

export const orders = table<{
  id: string;
  customer_id: string;
  status: OrderStatus;
  total: string;
  currency: string;
  ship_to: string | null;
  note: string | null;
  cancel_reason: string | null;
  placed_at: string;
  paid_at: string | null;
  updated_at: string;
}>("orders");

export const orderLines = table<{
  order_id: string;
  line_no: number;
  sku: string;
  quantity: number;
  unit_price: string;
  discount: string | null;
}>("order_lines");

export const payments = table<{
  id: string;
  order_id: string;
  method: "card" | "invoice" | "voucher";
  amount: string;
  refunded: string;
  response: string | null;
  captured_at: string;
}>("payments");

export const shipments = table<{
  id: string;
  order_id: string;
  carrier: string;
  parcels_g: string;
  transit: string | null;
  label: string | null;
  shipped_at: string;
  delivered_at: string | null;
}>("shipments");
