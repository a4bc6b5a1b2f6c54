/** Takes ids from the legacy database, so that no two sides ever give the same. */
export interface LegacyIds {
  /**
   * The next ids of the sequence that fills a column, taken for good, as text.
   *
   * @param count at least 1
   * @returns undefined for a column that is no integer, or that no rising sequence fills
   * @throws BanyanError `SOURCE_UNREACHABLE`, `REVERSE_NOT_READY` (no right to the sequence)
   */
  take(table: string, column: string, count: number): Promise<readonly string[] | undefined>;
  close(): Promise<void>;
}
