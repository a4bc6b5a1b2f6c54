-- A pipeline knows which tables it captures, so that one that joins later gets its baseline.
--
-- The role in the store's URL needs no more than this (it replaces the list in 002):
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT (event_id, time, version, source_id, mapping_version, schema_version, origin, stream_id, type,
--                 source_position, source_transaction, correlation_id, causation_id, actor, metadata, data)
--     ON banyan.events TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.captured_tables, banyan.mappings, banyan.quarantine
--     TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline TO banyan_app;

CREATE TABLE banyan.captured_tables (
  pipeline_id int  NOT NULL REFERENCES banyan.pipelines,
  table_name  text COLLATE "C" NOT NULL,
  stream_type text NOT NULL,
  role        text NOT NULL,                 -- of its rows in the stream
  since       text COLLATE "C" NOT NULL,     -- position of its baseline
  seen        text,                          -- transactions that the baseline of a late one holds, which the log tells again up to `since`
  left_at     text COLLATE "C",              -- checkpoint at which the config no longer had it
  PRIMARY KEY (pipeline_id, table_name)
);

REVOKE ALL ON banyan.captured_tables FROM PUBLIC;

-- Was checked for every image of every row, and a pipeline is never deleted.
ALTER TABLE banyan.row_images DROP CONSTRAINT row_images_pipeline_id_fkey;
