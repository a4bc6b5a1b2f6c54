-- An independent record of every committed row change, written by triggers in the same transaction.
-- It is not captured. Tests compare it with the events, one to one.

CREATE SCHEMA audit;
CREATE TABLE audit.changes (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
  relation   text NOT NULL,
  operation  text NOT NULL,
  old_row    jsonb,
  new_row    jsonb
);

CREATE FUNCTION audit.record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit.changes (relation, operation, old_row, new_row)
  VALUES (TG_TABLE_NAME, lower(TG_OP),
          CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
          CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
  RETURN NULL;
END $$;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['customers','products','stock_levels','orders','order_lines','payments','shipments'] LOOP
    EXECUTE format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit.record()', name);
  END LOOP;
END $$;
