-- An independent record of every committed row change, written by triggers in the same transaction.
-- It is not captured. Tests compare it with the events, one to one.
--
-- A row is kept as the server's own text of each column. `seq` orders the changes of one row; between
-- rows of one transaction it need not be the log's order, because what a cascade does is recorded
-- before what set it off.

CREATE SCHEMA audit;
CREATE TABLE audit.changes (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
  relation   text NOT NULL,
  operation  text NOT NULL,
  old_row    jsonb,
  new_row    jsonb
);

-- The trigger's argument is a query that makes an object of texts of the row `$1`.
CREATE FUNCTION audit.record() RETURNS trigger LANGUAGE plpgsql
  SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
  SET extra_float_digits = 3 SET bytea_output = 'hex' AS $$
DECLARE
  was jsonb;
  became jsonb;
BEGIN
  IF TG_OP <> 'INSERT' THEN EXECUTE TG_ARGV[0] INTO was USING OLD; END IF;
  IF TG_OP <> 'DELETE' THEN EXECUTE TG_ARGV[0] INTO became USING NEW; END IF;
  INSERT INTO audit.changes (relation, operation, old_row, new_row)
  VALUES (TG_TABLE_NAME, lower(TG_OP), was, became);
  RETURN NULL;
END $$;

DO $$
DECLARE
  name text;
  texts text;
BEGIN
  FOREACH name IN ARRAY ARRAY['customers','products','stock_levels','orders','order_lines','payments','shipments'] LOOP
    SELECT format('SELECT jsonb_build_object(%s)', string_agg(format('%L, ($1).%I::text', attname, attname), ', '))
      INTO texts FROM pg_attribute WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION audit.record(%L)', name, texts);
  END LOOP;
END $$;
