import { STATUS_PLACE } from "../verify/answer-place.ts";

/** Places that are remembered of a route. */
const PLACES_MAX = 200;
/** A place is noise when two answers of legacy differed there so often, */
const TIMES_MIN = 2;
/** and in such a share of the askings: a write may have come between the two now and then. */
const SHARE_MIN = 0.1;
/** Then all counts are halved, so that what is no noise any more is forgotten. */
const ASKINGS_MAX = 1_000;

export interface NoisePlace {
  readonly place: string;
  /** Askings in which two answers of legacy differed there; halved now and then. */
  readonly times: number;
}

/** What was learned of the noise in legacy's answers to one route: the places that differ though nobody wrote. */
export class ShadowNoise {
  readonly #times = new Map<string, number>();
  #askings = 0;
  #places: ReadonlySet<string> = new Set();

  /** Places that are left out. */
  get places(): ReadonlySet<string> {
    return this.#places;
  }

  get known(): readonly NoisePlace[] {
    return [...this.#places].map((place) => ({ place, times: this.#times.get(place)! }));
  }

  /** @param differing places at which two answers of legacy to the same request differ */
  learn(differing: readonly string[]): void {
    this.#askings++;
    for (const place of differing) {
      // A status that changes by itself is no noise.
      if (place === STATUS_PLACE) continue;
      const times = this.#times.get(place);
      if (times !== undefined || this.#times.size < PLACES_MAX)
        this.#times.set(place, (times ?? 0) + 1);
    }
    if (this.#askings >= ASKINGS_MAX) this.#halve();
    const isNoise = (times: number): boolean =>
      times >= TIMES_MIN && times >= SHARE_MIN * this.#askings;
    this.#places = new Set(
      [...this.#times].filter(([, times]) => isNoise(times)).map(([place]) => place),
    );
  }

  #halve(): void {
    this.#askings /= 2;
    for (const [place, times] of this.#times) {
      if (times <= 1) this.#times.delete(place);
      else this.#times.set(place, times / 2);
    }
  }
}
