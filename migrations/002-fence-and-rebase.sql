-- A capture writer is fenced before it writes, and a store that was restored from a dump can go on.
--
-- The first statement of a capture transaction. A writer that was fenced while it slept must not take
-- places in streams first and learn of it at its commit: until then its successor would wait for them.
-- Raises instead of returning "no row", so that what was sent behind it is refused by the server.
--
-- The role in the store's URL needs no more than this (it replaces the list in 001). Of an event it may
-- not choose the transaction, the position and the recorded time, which decide where readers meet it.
--   GRANT USAGE ON SCHEMA banyan TO banyan_app;
--   GRANT SELECT ON ALL TABLES IN SCHEMA banyan TO banyan_app;
--   GRANT INSERT (event_id, time, version, source_id, mapping_version, schema_version, origin, stream_id, type,
--                 source_position, source_transaction, correlation_id, causation_id, actor, metadata, data)
--     ON banyan.events TO banyan_app;
--   GRANT INSERT, UPDATE ON banyan.sources, banyan.pipelines, banyan.mappings, banyan.quarantine TO banyan_app;
--   GRANT INSERT, UPDATE, DELETE ON banyan.row_images TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline TO banyan_app;

-- Transaction ids belong to a server, and a dump does not take them along: restored elsewhere, old
-- events would seem to lie in the future. The base is added to every id of this server, see banyan.rebase.
CREATE TABLE banyan.transaction_base (
  base bigint NOT NULL
);
INSERT INTO banyan.transaction_base VALUES (0);

CREATE FUNCTION banyan.begin_capture(pipeline int, writer_epoch bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM banyan.pipelines p WHERE p.id = pipeline AND p.epoch = writer_epoch) THEN
    RAISE EXCEPTION 'another writer has taken over' USING ERRCODE = 'BN001';
  END IF;
  RETURN pg_current_xact_id()::text::bigint + (SELECT base FROM banyan.transaction_base);
END $$;

-- To be called once, by the owner, after the store was restored from a dump: events to come get ids
-- beyond those that are there. Cursors of readers stay valid.
CREATE FUNCTION banyan.rebase() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  newest bigint;
  new_base bigint;
BEGIN
  LOCK TABLE banyan.events IN ACCESS EXCLUSIVE MODE;
  SELECT e.transaction_id::text::bigint INTO newest FROM banyan.events e ORDER BY e.transaction_id DESC LIMIT 1;
  -- From the oldest open transaction on, because that one too may write an event later.
  SELECT greatest(base, coalesce(newest, 0) + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint) INTO new_base
    FROM banyan.transaction_base;
  UPDATE banyan.transaction_base SET base = new_base;
  EXECUTE format('ALTER TABLE banyan.events ALTER COLUMN transaction_id '
                 'SET DEFAULT ((pg_current_xact_id()::text::bigint + %s)::text::xid8)', new_base);
  RETURN new_base;
END $$;

REVOKE ALL ON banyan.transaction_base FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.begin_capture, banyan.rebase FROM PUBLIC;
