-- The event store. Released migrations are never edited; a change is a new file.
--
-- Two roles keep the log safe from the program that writes it: one owns the schema and runs the
-- migrations, the other is the one in the store's URL. The second needs no more than
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT ON banyan.events TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.mappings, banyan.quarantine TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.advance_pipeline TO banyan_app;
-- A reader of events needs USAGE on the schema and SELECT on banyan.cloudevents.

CREATE TABLE banyan.sources (
  id  int  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uri text NOT NULL UNIQUE
);

CREATE TYPE banyan.event_origin AS ENUM ('baseline', 'capture', 'native', 'import');

-- A cached range of numbers per session keeps the sequence off the path of every event. Readers order
-- by (transaction_id, position), so it does not matter that ranges of two sessions interleave.
CREATE SEQUENCE banyan.event_position AS bigint CACHE 1000;

CREATE TABLE banyan.events (
  transaction_id     xid8        NOT NULL DEFAULT pg_current_xact_id(),
  position           bigint      NOT NULL DEFAULT nextval('banyan.event_position'),
  event_id           uuid        NOT NULL,
  time               timestamptz NOT NULL,                 -- valid time: when it happened in the business
  recorded_time      timestamptz NOT NULL DEFAULT now(),
  version            int         NOT NULL CHECK (version > 0),
  source_id          int,                                  -- banyan.sources; not a foreign key, which would be checked per event
  mapping_version    int,                                  -- banyan.mappings, likewise
  schema_version     smallint    NOT NULL DEFAULT 1,
  origin             banyan.event_origin NOT NULL,
  stream_id          text COLLATE "C" NOT NULL,
  type               text COLLATE "C" NOT NULL,
  source_position    text COLLATE "C",
  source_transaction text COLLATE "C",
  correlation_id     text,
  causation_id       text,
  actor              text,
  metadata           jsonb,
  data               jsonb       NOT NULL,
  PRIMARY KEY (transaction_id, position),
  UNIQUE (stream_id, version),
  UNIQUE (event_id)
);
ALTER SEQUENCE banyan.event_position OWNED BY banyan.events.position;

-- An append-only log is also vacuumed for its insertions: visibility for index-only reads.
ALTER TABLE banyan.events SET (autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE FUNCTION banyan.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'events are append-only: % of banyan.events is refused', TG_OP
    USING ERRCODE = 'restrict_violation', HINT = 'Erase personal data by its key; correct a mistake by a further event.';
END $$;

CREATE TRIGGER events_append_only_rows BEFORE UPDATE OR DELETE ON banyan.events
  FOR EACH ROW EXECUTE FUNCTION banyan.refuse_change();
CREATE TRIGGER events_append_only_table BEFORE TRUNCATE ON banyan.events
  FOR EACH STATEMENT EXECUTE FUNCTION banyan.refuse_change();
-- Not even a session that replays replicated rows may change an event.
ALTER TABLE banyan.events ENABLE ALWAYS TRIGGER events_append_only_rows;
ALTER TABLE banyan.events ENABLE ALWAYS TRIGGER events_append_only_table;

CREATE TABLE banyan.pipelines (
  id                    int    GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name                  text   NOT NULL UNIQUE,
  source_id             int    NOT NULL REFERENCES banyan.sources,
  epoch                 bigint NOT NULL DEFAULT 0,
  phase                 text   NOT NULL DEFAULT 'new',
  checkpoint            text   COLLATE "C",
  baseline_position     text   COLLATE "C",
  changes_in            bigint NOT NULL DEFAULT 0,
  changes_claimed       bigint NOT NULL DEFAULT 0,
  changes_fallback      bigint NOT NULL DEFAULT 0,
  changes_unchanged     bigint NOT NULL DEFAULT 0,
  changes_parked        bigint NOT NULL DEFAULT 0,
  events                bigint NOT NULL DEFAULT 0,
  baselined             bigint NOT NULL DEFAULT 0,
  baseline_rows         bigint NOT NULL DEFAULT 0,
  transactions          bigint NOT NULL DEFAULT 0,
  quarantine_generation bigint NOT NULL DEFAULT 0,
  writer_pid            int,                               -- backend of whoever took the pipeline over last,
  writer_since          timestamptz,                       -- and when that backend started: a pid comes again
  status                jsonb  NOT NULL DEFAULT '{}',
  updated_at            timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- The last statement of a capture transaction, ahead of its COMMIT and in the same round trip: it
-- raises instead of returning "no row", so that the COMMIT behind it can only roll back.
CREATE FUNCTION banyan.advance_pipeline(
  pipeline int, writer_epoch bigint, new_phase text, new_checkpoint text, new_baseline_position text,
  new_status jsonb, ledger bigint[]  -- in the order of the columns
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  generation bigint;
BEGIN
  UPDATE banyan.pipelines p
     SET phase = new_phase,
         checkpoint = coalesce(new_checkpoint, p.checkpoint),
         baseline_position = coalesce(new_baseline_position, p.baseline_position),
         status = new_status,
         changes_in = changes_in + ledger[1],
         changes_claimed = changes_claimed + ledger[2],
         changes_fallback = changes_fallback + ledger[3],
         changes_unchanged = changes_unchanged + ledger[4],
         changes_parked = changes_parked + ledger[5],
         events = events + ledger[6],
         baselined = baselined + ledger[7],
         baseline_rows = baseline_rows + ledger[8],
         transactions = transactions + ledger[9],
         updated_at = clock_timestamp()
   WHERE p.id = pipeline AND p.epoch = writer_epoch
     AND (new_checkpoint IS NULL OR p.checkpoint IS NULL OR new_checkpoint COLLATE "C" >= p.checkpoint)
  RETURNING p.quarantine_generation INTO generation;
  IF FOUND THEN
    RETURN generation;
  ELSIF EXISTS (SELECT FROM banyan.pipelines p WHERE p.id = pipeline AND p.epoch = writer_epoch) THEN
    RAISE EXCEPTION 'the checkpoint would go back to %', new_checkpoint USING ERRCODE = 'BN002';
  END IF;
  RAISE EXCEPTION 'another writer has taken over' USING ERRCODE = 'BN001';
END $$;

CREATE TABLE banyan.mappings (
  version     int  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  fingerprint text NOT NULL UNIQUE,
  definition  jsonb NOT NULL,
  made_at     timestamptz NOT NULL DEFAULT now()
);

-- Last known rows of tables whose log does not carry old rows. Text, because it is only read back whole.
CREATE TABLE banyan.row_images (
  pipeline_id int  NOT NULL REFERENCES banyan.pipelines,
  table_name  text COLLATE "C" NOT NULL,
  row_key     text COLLATE "C" NOT NULL,
  image       text NOT NULL,
  PRIMARY KEY (pipeline_id, table_name, row_key)
) WITH (fillfactor = 80);

CREATE TABLE banyan.quarantine (
  id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline_id        int  NOT NULL REFERENCES banyan.pipelines,
  stream_id          text COLLATE "C" NOT NULL,
  position           text COLLATE "C" NOT NULL,
  source_transaction text NOT NULL,
  table_name         text NOT NULL,
  operation          text NOT NULL,
  code               text NOT NULL,
  reason             text NOT NULL,
  change             jsonb NOT NULL,
  parked_at          timestamptz NOT NULL DEFAULT now(),
  decision           text NOT NULL DEFAULT 'none' CHECK (decision IN ('none', 'retry', 'skip')),
  state              text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'retried', 'skipped'))
);
CREATE INDEX quarantine_pending ON banyan.quarantine (pipeline_id, stream_id, id) WHERE state = 'pending';

-- The same events in the words of CloudEvents 1.0. `sequence` orders the events of one subject as text.
CREATE VIEW banyan.cloudevents AS
SELECT e.event_id        AS id,
       coalesce(s.uri, 'urn:banyan') AS source,
       '1.0'             AS specversion,
       e.type,
       e.stream_id       AS subject,
       e.time,
       'application/json' AS datacontenttype,
       e.data,
       e.recorded_time   AS recordedtime,
       lpad(e.version::text, 10, '0') AS sequence,
       e.stream_id       AS partitionkey,
       e.correlation_id  AS correlationid,
       e.causation_id    AS causationid,
       e.actor,
       e.origin,
       e.schema_version  AS schemaversion,
       e.mapping_version AS mappingversion,
       e.source_position AS sourceposition,
       e.source_transaction AS sourcetransaction,
       e.metadata
  FROM banyan.events e
  LEFT JOIN banyan.sources s ON s.id = e.source_id;

REVOKE ALL ON ALL TABLES IN SCHEMA banyan FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA banyan FROM PUBLIC;
