-- Where each stream type stands on its way from the legacy application to the new service.
--
-- The role in the store's URL needs no more than this (it replaces the list in 005):
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

-- A stream type without a row has not begun to move: legacy decides.
CREATE TABLE banyan.rollouts (
  pipeline    text   COLLATE "C" NOT NULL,
  stream_type text   COLLATE "C" NOT NULL,
  stage       text   NOT NULL CHECK (stage IN ('legacy', 'shadow', 'canary', 'new', 'complete')),
  share       int    NOT NULL DEFAULT 0 CHECK (share BETWEEN 0 AND 10000),  -- buckets that have moved, at canary
  salt        text   NOT NULL CHECK (salt <> ''),
  epoch       bigint NOT NULL DEFAULT 1 CHECK (epoch > 0),
  changed_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (pipeline, stream_type)
);

-- Proxies and services tell a newer decision from an older one by its epoch alone; and another salt would
-- move aggregates from one authority to the other without anybody having decided it.
CREATE FUNCTION banyan.guard_rollout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION 'the rollout of % cannot be forgotten', OLD.stream_type USING ERRCODE = 'restrict_violation';
  ELSIF NEW.epoch <= OLD.epoch THEN
    RAISE EXCEPTION 'the rollout of % is at epoch % already', OLD.stream_type, OLD.epoch USING ERRCODE = 'BN003';
  ELSIF OLD.stage = 'complete' THEN
    RAISE EXCEPTION 'the rollout of % is complete', OLD.stream_type USING ERRCODE = 'restrict_violation';
  ELSIF (NEW.pipeline, NEW.stream_type, NEW.salt) <> (OLD.pipeline, OLD.stream_type, OLD.salt) THEN
    RAISE EXCEPTION 'the rollout of % keeps its salt', OLD.stream_type USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER rollouts_guard BEFORE UPDATE OR DELETE ON banyan.rollouts
  FOR EACH ROW EXECUTE FUNCTION banyan.guard_rollout();

REVOKE ALL ON banyan.rollouts FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.guard_rollout FROM PUBLIC;
