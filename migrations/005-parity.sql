-- What a verification keeps: hashes of folded rows per aggregate, the latest report, and open findings.
--
-- The role in the store's URL needs no more than this (it replaces the list in 004):
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT (event_id, time, version, source_id, mapping_version, schema_version, origin, stream_id, type,
--                 source_position, source_transaction, correlation_id, causation_id, actor, metadata, data)
--     ON banyan.events TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.captured_tables, banyan.baselines, banyan.mappings,
--     banyan.quarantine, banyan.rebaselines TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images, banyan.parity_scopes, banyan.parity_folds, banyan.parity_sums,
--     banyan.parity_reports, banyan.parity_findings TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline TO banyan_app;

CREATE TABLE banyan.parity_scopes (
  id          int  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline    text NOT NULL,
  stream_type text COLLATE "C" NOT NULL,
  fingerprint text,                          -- of all that the hashes depend on; NULL before there are any
  folded_to   xid8,                          -- events of transactions below are in the folds
  UNIQUE (pipeline, stream_type)
);

CREATE TABLE banyan.parity_folds (
  scope_id  int      NOT NULL,
  stream_id text     COLLATE "C" NOT NULL,
  role      smallint NOT NULL,               -- number of the role in its stream type; -1: holds events of others
  key_hash  bigint   NOT NULL,
  rows      int      NOT NULL,
  row_sum   bigint   NOT NULL,               -- of the rows' hashes, the lowest 64 bits
  PRIMARY KEY (scope_id, stream_id, role)
);
CREATE INDEX parity_folds_foreign ON banyan.parity_folds (scope_id) WHERE role = -1;

-- The folds summed up by the lowest bits of their key_hash, so that what is equal need not be read.
CREATE TABLE banyan.parity_sums (
  scope_id int      NOT NULL,
  role     smallint NOT NULL,
  bucket   int      NOT NULL,
  rows     bigint   NOT NULL,
  row_sum  numeric  NOT NULL,
  PRIMARY KEY (scope_id, role, bucket)
) WITH (fillfactor = 80);

CREATE TABLE banyan.parity_reports (
  pipeline text PRIMARY KEY,
  report   jsonb NOT NULL,
  saved_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE banyan.parity_findings (
  pipeline   text COLLATE "C" NOT NULL,
  table_name text COLLATE "C" NOT NULL,
  stream_id  text COLLATE "C" NOT NULL,
  row_key    text COLLATE "C" NOT NULL,
  verdict    text NOT NULL,
  columns    text[] NOT NULL,
  version    int  NOT NULL,                  -- of the stream, when it was seen
  first_seen timestamptz NOT NULL,
  last_seen  timestamptz NOT NULL,
  rechecks   int  NOT NULL,
  PRIMARY KEY (pipeline, table_name, stream_id, row_key)
);

REVOKE ALL ON banyan.parity_scopes, banyan.parity_folds, banyan.parity_sums, banyan.parity_reports, banyan.parity_findings FROM PUBLIC;
