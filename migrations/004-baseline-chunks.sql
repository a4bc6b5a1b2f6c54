-- A baseline is read in chunks beside the log, and goes on where it stood.
--
-- The role in the store's URL needs no more than this (it replaces the list in 003):
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT (event_id, time, version, source_id, mapping_version, schema_version, origin, stream_id, type,
--                 source_position, source_transaction, correlation_id, causation_id, actor, metadata, data)
--     ON banyan.events TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.captured_tables, banyan.baselines, banyan.mappings,
--     banyan.quarantine, banyan.rebaselines TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline TO banyan_app;

CREATE TABLE banyan.baselines (
  pipeline_id int   NOT NULL REFERENCES banyan.pipelines,
  stream_type text  COLLATE "C" NOT NULL,
  progress    jsonb NOT NULL,                -- up to which key it was read, and the snapshots of the last chunks
  PRIMARY KEY (pipeline_id, stream_type)
);

-- Asked for by an operator; whoever runs the pipeline looks now and then.
ALTER TABLE banyan.pipelines ADD COLUMN baseline_paused boolean NOT NULL DEFAULT false;

-- Streams that are to be read anew from the source, because what happened to them for a while is not known.
CREATE TABLE banyan.rebaselines (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline_id  int    NOT NULL REFERENCES banyan.pipelines,
  stream_id    text   COLLATE "C" NOT NULL,
  reason       text   NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  done_at      timestamptz,
  seen         text,                         -- the snapshot that it was read by,
  fence        text   COLLATE "C"            -- up to where the log tells once more what that saw
);
CREATE INDEX rebaselines_pending ON banyan.rebaselines (pipeline_id, id) WHERE done_at IS NULL;
CREATE INDEX rebaselines_done ON banyan.rebaselines (pipeline_id, fence) WHERE done_at IS NOT NULL;

REVOKE ALL ON banyan.baselines, banyan.rebaselines FROM PUBLIC;
