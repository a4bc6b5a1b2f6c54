import type { Address } from "./listen-address.ts";
import type { RequestKind } from "../rollout/side.ts";
import type { Side } from "../rollout/stage.ts";

/** Everything that a proxy is told, checked and with defaults. */
export interface ProxySettings {
  readonly listen: Address;
  /** Absent: no admin plane. */
  readonly admin?: AdminSettings | undefined;
  readonly upstreams: Readonly<Record<Side, UpstreamSettings>>;
  readonly routes: readonly RouteSettings[];
  /** Addresses or networks (`10.0.0.0/8`) whose forwarded headers are believed. */
  readonly trusted: readonly string[];
  /** A file that gets a line of JSON per request. */
  readonly accessLog?: string | undefined;
}

export interface AdminSettings {
  readonly listen: Address;
  /** Needed on an address that others can reach. */
  readonly token?: string | undefined;
}

export interface UpstreamSettings {
  /** Scheme, host and port; nothing else. */
  readonly url: string;
  /** Requests under way at once, each on a connection of its own; more are refused. */
  readonly connectionsMax: number;
  readonly connectMsMax: number;
  /** From the request's end to the head of its answer. */
  readonly responseMsMax: number;
  /** Between two pieces of an answer. */
  readonly idleMsMax: number;
  /** Asked regularly; absent: only requests tell whether it is well. */
  readonly healthPath?: string | undefined;
  readonly healthEveryMs: number;
}

export interface RouteSettings {
  readonly methods: readonly string[];
  /** `/orders/:id`, `/orders/:id/*`. */
  readonly path: string;
  /** Stream type of the aggregates. */
  readonly stream: string;
  readonly kind: RequestKind;
  readonly id?: IdPlace | undefined;
  readonly idForm: IdForm;
  /** Of a creation: where legacy's answer names what it has made. */
  readonly created?: CreatedPlace | undefined;
}

export type CreatedPlace =
  /** A field of a JSON body. */
  | { readonly json: string }
  /** The last word of the path that a header, as `location`, has. */
  | { readonly header: string };

/** Where a request names its aggregate. */
export type IdPlace =
  | { readonly path: string }
  | { readonly query: string }
  | { readonly header: string }
  /** A field of a JSON body, `order.id`. */
  | { readonly json: string };

/** How ids are written, so that two spellings of one aggregate are one. */
export type IdForm = "text" | "integer" | "uuid";
