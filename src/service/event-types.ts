import type {
  DeleteRule,
  InsertRule,
  RowOf,
  StreamRef,
  UpdateRule,
  WithOf,
} from "../mapping/rules.ts";

/** An aggregate's rows: the columns of its root, and under each role the rows of that child table. */
export type StateOf<Stream extends StreamRef> = Readonly<RowOf<Stream["root"]>> & {
  readonly [Role in keyof Stream["children"]]: readonly Readonly<
    RowOf<Stream["children"][Role]["table"]>
  >[];
};

/** A whole row; columns that may be NULL are NULL when left out. */
export type NewRow<Row> = {
  readonly [Name in keyof Row as null extends Row[Name] ? never : Name]: Row[Name];
} & {
  readonly [Name in keyof Row as null extends Row[Name] ? Name : never]?: Row[Name];
};

/** What a service says of an event; the library completes it, and adds the old values under `$was`. */
export type EventDataOf<Stream extends StreamRef, Rule> = Rule extends InsertRule
  ? NewRow<RowOf<Rule>> & {
      readonly [
        Role in keyof Stream["children"] as RowOf<
          Stream["children"][Role]["table"]
        > extends WithOf<Rule>
          ? Role
          : never
      ]?: readonly NewRow<RowOf<Stream["children"][Role]["table"]>>[];
    }
  : Rule extends UpdateRule | DeleteRule
    ? Readonly<Partial<RowOf<Rule>>>
    : never;

declare const draftOf: unique symbol;

/** An event to be, of a stream type: made by `events` or `become` of its aggregate. */
export type Draft<Stream extends StreamRef = StreamRef> = (
  | { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
  | { readonly next: Readonly<Record<string, unknown>> | undefined }
) & { readonly [draftOf]?: Stream };

/** A function per named event of the config. */
export type EventMakers<Stream extends StreamRef> = {
  readonly [Type in keyof Stream["events"] & string]: EventMaker<
    Stream,
    EventDataOf<Stream, Stream["events"][Type]>
  >;
};

type EventMaker<Stream extends StreamRef, Data> =
  Partial<Data> extends Data ? (data?: Data) => Draft<Stream> : (data: Data) => Draft<Stream>;
