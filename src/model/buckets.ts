/** Some of the buckets that keys are spread over by their hash. */
export interface SomeBuckets {
  /** How many there are in all. */
  readonly buckets: number;
  readonly wanted: readonly number[];
}
