-- What a verification keeps of the events beside their folds: which streams are flawed, and how many events
-- there were.
--
-- The role in the store's URL needs no more than this (it replaces the list in 008):
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT (event_id, time, version, source_id, mapping_version, schema_version, origin, stream_id, type,
--                 source_position, source_transaction, correlation_id, causation_id, actor, metadata, data)
--     ON banyan.events TO banyan_app;
--   GRANT INSERT ON banyan.rollout_log TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.captured_tables, banyan.baselines, banyan.mappings,
--     banyan.quarantine, banyan.rebaselines, banyan.rollouts, banyan.moves TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images, banyan.parity_scopes, banyan.parity_folds, banyan.parity_sums,
--     banyan.parity_reports, banyan.parity_findings, banyan.parity_counts, banyan.proxies, banyan.proposals,
--     banyan.shadow_writes, banyan.shadow_samples, banyan.traffic, banyan.reserved_ids, banyan.reverse_progress,
--     banyan.reverse_conflicts, banyan.claims TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline, banyan.authority, banyan.lock_authority,
--     banyan.guard_authority, banyan.end_hold TO banyan_app;

-- Streams whose events do not follow on from each other, which are few.
CREATE INDEX parity_folds_flawed ON banyan.parity_folds (scope_id, stream_id) WHERE role = -2;

-- Events of pipelines as they were counted last, so that only later ones need be counted: one row.
CREATE TABLE banyan.parity_counts (
  singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  counted_to xid8    NOT NULL,               -- events of transactions below are counted
  events     bigint  NOT NULL,               -- of baselines and captures
  settled    bigint  NOT NULL DEFAULT 0      -- so many more than the ledgers tell, which is known
);

REVOKE ALL ON banyan.parity_counts FROM PUBLIC;
