-- What moving a stream type takes: authority that appends are held to, proposals of a service that runs in
-- shadow, what proxies have seen and measured, moves under way, and the way back into the legacy rows.
--
-- The role in the store's URL needs no more than this (it replaces the list in 006):
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
--     banyan.shadow_samples, banyan.traffic, banyan.reserved_ids, banyan.reverse_progress, banyan.reverse_conflicts
--     TO banyan_app;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA banyan TO banyan_app;
--   GRANT EXECUTE ON FUNCTION banyan.begin_capture, banyan.advance_pipeline, banyan.authority, banyan.lock_authority,
--     banyan.guard_authority, banyan.end_hold TO banyan_app;

-- Changes that came back because Banyan itself wrote them from events of a service.
ALTER TABLE banyan.pipelines ADD COLUMN changes_echoed bigint NOT NULL DEFAULT 0;

-- As in 001, with one count more.
CREATE OR REPLACE FUNCTION banyan.advance_pipeline(
  pipeline int, writer_epoch bigint, new_phase text, new_checkpoint text, new_baseline_position text,
  new_status jsonb, ledger bigint[]  -- in the order of the columns, changes_echoed last
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
         changes_echoed = changes_echoed + coalesce(ledger[10], 0),
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

-- While a move is under way proxies hold back the writes of these buckets. Nobody lets them go by the clock
-- alone: after `held_until` anybody may end the hold by an update that raises the epoch, and that update
-- and the one that switches the authority exclude each other.
ALTER TABLE banyan.rollouts
  ADD COLUMN held_from  int,
  ADD COLUMN held_to    int,
  ADD COLUMN held_until timestamptz,
  ADD COLUMN held_reads text CHECK (held_reads IN ('legacy', 'new')),  -- who answers reads of them; NULL: by the stage
  ADD COLUMN paused     boolean NOT NULL DEFAULT false,   -- an operator lets every automatic step rest
  ADD CONSTRAINT rollouts_held CHECK (
    (held_from IS NULL) = (held_until IS NULL) AND (held_from IS NULL) = (held_to IS NULL)
    AND held_from >= 0 AND held_to <= 10000 AND held_from < held_to);

-- Which side has authority over an aggregate, and has it until the transaction of the caller ends: a switch
-- takes the same lock for itself alone (banyan.lock_authority), so that no event of the old authority is
-- stored behind it. A hold changes nothing here: what was let through before it may still end well.
-- Volatile, because it must look after it has the lock.
CREATE FUNCTION banyan.authority(migration text, type text, bucket int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  rollout banyan.rollouts;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('banyan.authority:' || migration || ':' || type, 0));
  SELECT * INTO rollout FROM banyan.rollouts r WHERE r.pipeline = migration AND r.stream_type = type;
  RETURN CASE coalesce(rollout.stage, 'legacy')
    WHEN 'canary' THEN CASE WHEN bucket < rollout.share THEN 'new' ELSE 'legacy' END
    WHEN 'new' THEN 'new' WHEN 'complete' THEN 'new'
    ELSE 'legacy' END;
END $$;

-- The first statement of a transaction that switches the authority over aggregates of a type.
CREATE FUNCTION banyan.lock_authority(migration text, type text) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('banyan.authority:' || migration || ':' || type, 0))
$$;

-- Among the last statements of a capture transaction: of each stream type that it holds events of, the
-- lowest bucket that legacy decided over when they were mapped. A move that has taken such an aggregate from
-- legacy since is met here, and one that comes later waits for the COMMIT.
CREATE FUNCTION banyan.guard_authority(migration text, types text[], lowest int[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  moved text;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('banyan.authority:' || migration || ':' || type, 0))
     FROM (SELECT unnest(types) AS type ORDER BY 1) t;
  SELECT r.stream_type INTO moved
    FROM unnest(types, lowest) AS t(type, bucket)
    JOIN banyan.rollouts r ON r.pipeline = migration AND r.stream_type = t.type
   WHERE t.bucket < CASE r.stage WHEN 'canary' THEN r.share WHEN 'new' THEN 10000 WHEN 'complete' THEN 10000 ELSE 0 END;
  IF FOUND THEN
    RAISE EXCEPTION 'aggregates of % have moved since their changes were mapped', moved USING ERRCODE = 'BN004';
  END IF;
END $$;

-- What each proxy knows. A move waits until every one of them has acknowledged its hold.
CREATE TABLE banyan.proxies (
  pipeline    text   COLLATE "C" NOT NULL,
  instance    uuid   NOT NULL,
  place       text   NOT NULL,               -- host and process, for people
  stream_type text   COLLATE "C" NOT NULL,
  epoch       bigint NOT NULL,               -- no write that was decided on an earlier one is under way
  knows       bigint NOT NULL DEFAULT 0,     -- nothing is decided on an earlier one any more
  seen_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (pipeline, stream_type, instance)
) WITH (fillfactor = 50);

-- A write that legacy was asked, and the new service in shadow.
CREATE TABLE banyan.shadow_writes (
  pipeline       text COLLATE "C" NOT NULL,
  correlation_id text COLLATE "C" NOT NULL,
  stream_type    text COLLATE "C" NOT NULL,
  stream_id      text COLLATE "C",           -- NULL for a creation that carries no id
  route          text NOT NULL,              -- e.g. POST /orders/:id/pay
  legacy_status  int,                        -- NULL: legacy gave no answer
  new_status     int,                        -- NULL: the service gave none
  asked_at       timestamptz NOT NULL,
  answered_at    timestamptz NOT NULL,       -- when both had, or were given up
  verdict        text NOT NULL DEFAULT 'waiting' CHECK (verdict IN ('waiting', 'pass', 'fail', 'inconclusive')),
  reason         text,                       -- a word of docs/7-rollout.md
  detail         jsonb,                      -- of a failure: both sides, and where they part
  judged_at      timestamptz,
  PRIMARY KEY (pipeline, correlation_id)
);
CREATE INDEX shadow_writes_waiting ON banyan.shadow_writes (pipeline, answered_at) WHERE verdict = 'waiting';
CREATE INDEX shadow_writes_stream ON banyan.shadow_writes (pipeline, stream_id, asked_at);
CREATE INDEX shadow_writes_judged ON banyan.shadow_writes (pipeline, stream_type, judged_at) WHERE verdict <> 'waiting';

-- What a service in shadow would have appended.
CREATE TABLE banyan.proposals (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline       text COLLATE "C" NOT NULL,
  correlation_id text COLLATE "C" NOT NULL,
  stream_id      text COLLATE "C" NOT NULL,
  decided_on     int  NOT NULL,              -- version of the stream, 0 when it does not exist
  events         jsonb NOT NULL,             -- type and data of each, in order; empty for a refusal or for nothing to do
  inputs         jsonb NOT NULL DEFAULT '{}', -- other streams that the decision rests on, and the version of each
  proposed_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX proposals_correlation ON banyan.proposals (pipeline, correlation_id);
CREATE INDEX proposals_age ON banyan.proposals (pipeline, proposed_at);

-- From a request to what it became. Only where the legacy application says which request it was, so that
-- nobody else pays for it; by a number, because ids of 36 characters would make it thrice as large.
CREATE INDEX events_correlation ON banyan.events (hashtextextended(correlation_id COLLATE "C", 0))
  WHERE origin = 'capture' AND correlation_id IS NOT NULL;

-- What went through proxies, by the second.
CREATE TABLE banyan.traffic (
  pipeline     text COLLATE "C" NOT NULL,
  second       timestamptz NOT NULL,
  stream_type  text COLLATE "C" NOT NULL,
  route        text COLLATE "C" NOT NULL,
  side         text NOT NULL CHECK (side IN ('legacy', 'new')),
  instance     uuid NOT NULL,
  requests     int  NOT NULL,
  errors       int  NOT NULL,                -- 5xx, and answers that never came
  millis       float8 NOT NULL,              -- until the head of the answer, summed up
  slower       int[] NOT NULL,               -- requests by duration: see src/rollout/traffic.ts
  compared     int  NOT NULL DEFAULT 0,      -- shadow reads: equal + different
  different    int  NOT NULL DEFAULT 0,
  uncompared   int  NOT NULL DEFAULT 0,      -- too large, not to be understood, or no answer in time
  dropped      int  NOT NULL DEFAULT 0,      -- not asked at all, because too many were under way
  PRIMARY KEY (pipeline, second, stream_type, route, side, instance)
);

CREATE TABLE banyan.shadow_samples (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline    text COLLATE "C" NOT NULL,
  stream_type text COLLATE "C" NOT NULL,
  route       text COLLATE "C" NOT NULL,
  target      text NOT NULL,                 -- path without the query
  differences jsonb NOT NULL,                -- places and what each side has there
  seen_at     timestamptz NOT NULL DEFAULT now()
);

-- A change of stage or share under way, and every one there was.
CREATE TABLE banyan.moves (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline    text COLLATE "C" NOT NULL,
  stream_type text COLLATE "C" NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('promote', 'rollback', 'complete')),
  from_stage  text NOT NULL,
  from_share  int  NOT NULL,
  to_stage    text NOT NULL,
  to_share    int  NOT NULL,
  step        text NOT NULL,                 -- the last that was done: see src/rollout/move.ts
  epoch       bigint NOT NULL,               -- of the rollout after that step
  fence       text,                          -- position that the other side must have passed
  who         text NOT NULL,
  why         text NOT NULL,
  forced      text[] NOT NULL DEFAULT '{}',  -- gates that were passed over by name
  without     uuid[] NOT NULL DEFAULT '{}',  -- proxies that are not waited for
  hold_ms     int  NOT NULL,                 -- for so long writes are held back at most
  driver      uuid NOT NULL,                 -- the process that carries it out, and says so every second;
  touched_at  timestamptz NOT NULL DEFAULT clock_timestamp(),  -- one that is silent may be relieved
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at    timestamptz,
  outcome     text CHECK (outcome IN ('done', 'undone')),
  reason      text,                          -- of one that was undone
  CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX moves_under_way ON banyan.moves (pipeline, stream_type) WHERE ended_at IS NULL;

-- The audit log of every decision. Append-only, like events.
CREATE TABLE banyan.rollout_log (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pipeline    text COLLATE "C" NOT NULL,
  stream_type text COLLATE "C" NOT NULL,
  at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  who         text NOT NULL,
  what        text NOT NULL,
  why         text NOT NULL,
  epoch       bigint NOT NULL,
  detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE FUNCTION banyan.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the log of the rollout is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER rollout_log_rows BEFORE UPDATE OR DELETE ON banyan.rollout_log
  FOR EACH ROW EXECUTE FUNCTION banyan.refuse_rewriting();
CREATE TRIGGER rollout_log_table BEFORE TRUNCATE ON banyan.rollout_log
  FOR EACH STATEMENT EXECUTE FUNCTION banyan.refuse_rewriting();
ALTER TABLE banyan.rollout_log ENABLE ALWAYS TRIGGER rollout_log_rows;
ALTER TABLE banyan.rollout_log ENABLE ALWAYS TRIGGER rollout_log_table;

-- Ends a hold that is over by the clock, whoever finds it: its move may have lost its process. Behind the
-- switch of a rollback legacy's rows may lack decisions of the service until the move says that they do not
-- (step `settled`). Before that the authority goes back to where it was: legacy has written nothing, because
-- nobody has let a write go. NULL when there is nothing to end.
CREATE FUNCTION banyan.end_hold(migration text, type text, expected bigint, asker text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  under_way banyan.moves;
  goes_back boolean;
  raised bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM banyan.rollouts r WHERE r.pipeline = migration AND r.stream_type = type
                    AND r.epoch = expected AND r.held_until < clock_timestamp()) THEN
    RETURN NULL;
  END IF;
  IF EXISTS (SELECT FROM banyan.moves m WHERE m.pipeline = migration AND m.stream_type = type AND m.ended_at IS NULL
                AND m.kind = 'rollback' AND m.step = 'switched') THEN
    PERFORM banyan.lock_authority(migration, type);
  END IF;
  SELECT * INTO under_way FROM banyan.moves m
   WHERE m.pipeline = migration AND m.stream_type = type AND m.ended_at IS NULL FOR UPDATE;
  goes_back := FOUND AND under_way.kind = 'rollback' AND under_way.step = 'switched';
  -- Whoever switches raises the epoch, so the step that was looked at is the one of this epoch.
  UPDATE banyan.rollouts r
     SET held_from = NULL, held_to = NULL, held_until = NULL, held_reads = NULL, epoch = r.epoch + 1,
         stage = CASE WHEN goes_back THEN under_way.from_stage ELSE r.stage END,
         share = CASE WHEN goes_back THEN under_way.from_share ELSE r.share END,
         changed_at = CASE WHEN goes_back THEN clock_timestamp() ELSE r.changed_at END
   WHERE r.pipeline = migration AND r.stream_type = type AND r.epoch = expected AND r.held_until < clock_timestamp()
  RETURNING r.epoch INTO raised;
  IF raised IS NULL THEN
    RETURN NULL;
  END IF;
  INSERT INTO banyan.rollout_log (pipeline, stream_type, who, what, why, epoch)
  VALUES (migration, type, asker, CASE WHEN goes_back THEN 'rollback switched back' ELSE 'hold ended' END,
          CASE WHEN goes_back THEN 'the hold was over before legacy was known to have everything'
               ELSE 'it was over by the clock' END, raised);
  IF goes_back THEN
    UPDATE banyan.moves m
       SET outcome = 'undone', reason = 'the hold was over before legacy was known to have everything',
           epoch = raised, ended_at = clock_timestamp(), touched_at = clock_timestamp()
     WHERE m.id = under_way.id;
  END IF;
  RETURN raised;
END $$;

-- Ids of the legacy sequence that were taken from it for the new service: no two sides ever have the same.
CREATE TABLE banyan.reserved_ids (
  pipeline    text   COLLATE "C" NOT NULL,
  stream_type text   COLLATE "C" NOT NULL,
  id          bigint NOT NULL,
  bucket      int    NOT NULL,
  PRIMARY KEY (pipeline, stream_type, id)
);

-- How far native events are in the legacy rows, as the reverse sync last said. Which events of a stream are
-- in its rows is kept beside the rows, in the legacy database itself.
CREATE TABLE banyan.reverse_progress (
  pipeline    text PRIMARY KEY,
  epoch       bigint NOT NULL DEFAULT 0,     -- raised by whoever takes it over
  cursor      text,                          -- of the feed: everything before it is applied, or a conflict
  applied     bigint NOT NULL DEFAULT 0,     -- events
  lag_seconds float8 NOT NULL DEFAULT 0,     -- age of the oldest event that is not
  updated_at  timestamptz NOT NULL DEFAULT now()
);

-- A row that somebody else has changed, so that what the service decided was not written into it.
CREATE TABLE banyan.reverse_conflicts (
  pipeline   text COLLATE "C" NOT NULL,
  stream_id  text COLLATE "C" NOT NULL,
  version    int  NOT NULL,                  -- of the first event that waits
  table_name text NOT NULL,
  row_key    text NOT NULL,
  columns    text[] NOT NULL,
  reason     text NOT NULL,
  found_at   timestamptz NOT NULL DEFAULT now(),
  tried_at   timestamptz NOT NULL DEFAULT now(),
  asked      boolean NOT NULL DEFAULT false, -- somebody wants it tried again now
  PRIMARY KEY (pipeline, stream_id)
);

REVOKE ALL ON banyan.proxies, banyan.shadow_writes, banyan.proposals, banyan.traffic, banyan.shadow_samples, banyan.moves,
  banyan.rollout_log, banyan.reserved_ids, banyan.reverse_progress, banyan.reverse_conflicts FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.authority, banyan.lock_authority, banyan.guard_authority, banyan.end_hold,
  banyan.refuse_rewriting FROM PUBLIC;
