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
  /** Absent: nothing is compared and nothing mirrored, whatever the stage. */
  readonly shadow?: ShadowSettings | undefined;
}

export interface ShadowSettings {
  /** Share of the reads that are compared, 0 to 1. */
  readonly reads: number;
  /** Share of the compared reads of which legacy is asked twice, to learn what differs by itself. */
  readonly noise: number;
  /** From asking in shadow to the end of the answer. A read has waited for its turn for half as long at most. */
  readonly timeoutMs: number;
  /** Requests under way at once at each side; writes have as many of their own. */
  readonly connectionsMax: number;
  /** Larger answers are not compared, and larger writes not mirrored. */
  readonly bodyBytesMax: number;
  /** Headers of an answer that count. */
  readonly headers: readonly string[];
  /** Samples of differences have the values of bodies and headers. */
  readonly showValues: boolean;
  /** Paths of routes that are neither compared nor mirrored. */
  readonly except: readonly string[];
  readonly normalise: readonly ShadowNormaliser[];
}

/** What answers may differ in; places as in src/verify/answer-place.ts. */
export interface ShadowNormaliser {
  /** Of the routes that are meant; absent: all. */
  readonly path?: string | undefined;
  readonly ignore: readonly string[];
  readonly unordered: readonly string[];
  readonly tolerances: Readonly<Record<string, number>>;
  readonly timestampsWithinMs: Readonly<Record<string, number>>;
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
export type IdForm = "text" | "integer" | "uuid" | "key";
