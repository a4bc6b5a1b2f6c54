-- Values that only one aggregate of a stream type may have, as services claim them with their events.
--
-- The role in the store's URL needs no more than this (it replaces the list in 007):
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT (event_id, time, version, source_id, mapping_version, schema_version, origin, stream_id, type,
--                 source_position, source_transaction, correlation_id, causation_id, actor, metadata, data)
--     ON banyan.events TO banyan_app;
--   GRANT INSERT ON banyan.rollout_log TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.captured_tables, banyan.baselines, banyan.mappings,
--     banyan.quarantine, banyan.rebaselines, banyan.rollouts, banyan.moves TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images, banyan.parity_scopes, banyan.parity_folds, banyan.parity_sums,
--     banyan.parity_reports, banyan.parity_findings, banyan.proxies, banyan.proposals, banyan.shadow_writes,
--     banyan.shadow_samples, banyan.traffic, banyan.reserved_ids, banyan.reverse_progress, banyan.reverse_conflicts,
--     banyan.claims TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline, banyan.authority, banyan.lock_authority,
--     banyan.guard_authority, banyan.end_hold TO banyan_app;

-- What an aggregate has claimed, one value per column. A claim may be of a value that its aggregate has no
-- more, when legacy had authority meanwhile: whoever meets it looks, and releases it (by the version).
CREATE TABLE banyan.claims (
  pipeline    text COLLATE "C" NOT NULL,
  stream_type text COLLATE "C" NOT NULL,
  stream_id   text COLLATE "C" NOT NULL,
  column_name text COLLATE "C" NOT NULL,
  value       text COLLATE "C" NOT NULL,     -- as the events have it in JSON, without quotes
  version     int  NOT NULL,                 -- of the stream, with the event that gave it the value
  PRIMARY KEY (pipeline, stream_id, column_name),
  CONSTRAINT claims_value_key UNIQUE (pipeline, stream_type, column_name, value)
);

REVOKE ALL ON banyan.claims FROM PUBLIC;
