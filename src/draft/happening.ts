import { latinWords } from "../assess/identifier-words.ts";

/** Past participles that do not end in -ed. */
const PARTICIPLES = new Set(
  (
    "paid sent held lost won sold done begun built bought broken chosen found frozen given hidden kept laid led left lent " +
    "made met put read repaid run said seen set shut spent split stolen taken taught thought told withdrawn won written drawn cut dealt"
  ).split(" "),
);
/** Words that end like a participle, or like something under way, and only tell how a thing is. */
const ADJECTIVES = new Set(
  "red need speed feed hundred pending outstanding missing upcoming standing existing remaining ongoing incoming outgoing".split(
    " ",
  ),
);
const NEGATIONS = new Set(["not", "non", "no", "never"]);
const PREPOSITIONS = new Set("in on out under at off into".split(" "));

/** What happened when a thing came into such a state, where its name does not say it by itself. */
const HAPPENED: ReadonlyMap<string, string> = new Map(
  Object.entries({
    active: "Activated",
    inactive: "Deactivated",
    open: "Opened",
    live: "WentLive",
    online: "WentOnline",
    offline: "WentOffline",
    complete: "Completed",
    final: "Finalized",
    void: "Voided",
    cancel: "Cancelled",
    reject: "Rejected",
    accept: "Accepted",
    approve: "Approved",
    close: "Closed",
    delete: "Deleted",
    pass: "Passed",
    fail: "Failed",
    failure: "Failed",
    error: "Failed",
    success: "Succeeded",
    successful: "Succeeded",
    hold: "PutOnHold",
    "on hold": "PutOnHold",
    progress: "Started",
    "in progress": "Started",
    wip: "Started",
    review: "WentIntoReview",
    "in review": "WentIntoReview",
    draft: "WentIntoDraft",
  }),
);

/**
 * The end of an event's name when something comes into a state: `shipped` → `Shipped`, `in transit` →
 * `WentInTransit`, `processing` → `BeganProcessing`, `ready` → `BecameReady`.
 *
 * @param subject words of the thing, which are not said twice: `order_shipped` of an order is `Shipped`
 * @returns undefined for a code (`3`, `A`, nothing), which says nothing by itself
 */
export function happeningOf(value: string, subject: readonly string[] = []): string | undefined {
  const all = latinWords(value);
  const repeats = subject.every((word, i) => all[i] === word) && all.length > subject.length;
  const words = subject.length > 0 && repeats ? all.slice(subject.length) : all;
  const [first] = words;
  if (first === undefined || !words.some((word) => /[a-z]{3}/.test(word))) return undefined;
  const known = HAPPENED.get(words.join(" "));
  if (known !== undefined) return known;
  const text = pascalCase(words);
  if (words.length > 1 && PREPOSITIONS.has(first)) return `Went${text}`;
  if (isUnderWay(first)) return `Began${text}`;
  if (NEGATIONS.has(first)) return `Became${text}`;
  return isParticiple(words.at(-1)!) || isParticiple(first) ? text : `Became${text}`;
}

/** Deeds that a column of a date is named after: `return_date`, `delivery_date`. */
const DEEDS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    acceptance: "accepted",
    approval: "approved",
    archive: "archived",
    arrival: "arrived",
    cancel: "cancelled",
    cancellation: "cancelled",
    closing: "closed",
    closure: "closed",
    completion: "completed",
    confirmation: "confirmed",
    delivery: "delivered",
    departure: "departed",
    dispatch: "dispatched",
    payment: "paid",
    pickup: "picked up",
    publication: "published",
    rejection: "rejected",
    release: "released",
    resolution: "resolved",
    return: "returned",
    shipment: "shipped",
    shipping: "shipped",
    termination: "terminated",
  }),
);

/**
 * What a time that is filled in says was done: `delivered` of itself, `return` → `returned`. Of several
 * words only as they are: an expected return is none.
 */
export function deedOf(words: readonly string[]): readonly string[] | undefined {
  const deed = words.length === 1 ? DEEDS.get(words[0]!)?.split(" ") : undefined;
  if (deed !== undefined) return deed;
  return words.length > 0 && isParticiple(words.at(-1)!) ? words : undefined;
}

/** `shipped`, `paid`: something was done. */
export function isParticiple(word: string): boolean {
  if (ADJECTIVES.has(word) || /^(un|not|non)/.test(word)) return PARTICIPLES.has(word);
  return PARTICIPLES.has(word) || /[a-z]{2}ed$/.test(word);
}

/**
 * Whether a column tells more about a state that was reached: `cancel_reason` about `cancelled`,
 * `delivery_date` about `delivered`, `paid_at` about `paid`.
 */
export function tellsOf(column: readonly string[], state: readonly string[]): boolean {
  const stems = state.filter(isParticiple).map(stemOf);
  const [word = ""] = column;
  return stems.some((stem) => {
    if (stem === stemOf(word)) return true;
    const rest = word.startsWith(stem) ? word.slice(stem.length) : undefined;
    if (rest === undefined) return false;
    return stem.length >= 5 || /^(ment|ments|ing|al)$/.test(rest);
  });
}

const STEMS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    paid: "pay",
    sent: "send",
    held: "hold",
    lost: "los",
    sold: "sell",
    withdrawn: "withdraw",
    taken: "tak",
    chosen: "choos",
  }),
);

/** `shipped` → `ship`, `cancelled` → `cancel`, `paid` → `pay`. */
function stemOf(word: string): string {
  const known = STEMS.get(word);
  if (known !== undefined) return known;
  return word
    .replace(/ied$/, "y")
    .replace(/([b-df-hj-np-tv-z])\1ed$/, "$1")
    .replace(/e?d$/, "")
    .replace(/e$/, "");
}

function isUnderWay(word: string): boolean {
  return /[a-z]{2}ing$/.test(word) && !ADJECTIVES.has(word);
}

export function pascalCase(words: readonly string[]): string {
  return words.map(capitalized).join("");
}

export function capitalized(name: string): string {
  return `${name[0]!.toUpperCase()}${name.slice(1)}`;
}
