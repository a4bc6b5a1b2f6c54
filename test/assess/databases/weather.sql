-- Measurements of stations: a large partitioned table that is only added to, a few small ones beside it.
CREATE TABLE station (station_id integer PRIMARY KEY, name text NOT NULL, latitude double precision, longitude double precision, elevation_m real, commissioned date);
CREATE TABLE sensor_kind (kind text PRIMARY KEY, unit text NOT NULL);
CREATE TABLE sensor (sensor_id integer PRIMARY KEY, station_id integer NOT NULL REFERENCES station, kind text NOT NULL REFERENCES sensor_kind, serial_no text, calibrated_at timestamptz, offset_value double precision);
CREATE TABLE measurement (sensor_id integer NOT NULL, measured_at timestamptz NOT NULL, value double precision NOT NULL, quality smallint NOT NULL DEFAULT 0) PARTITION BY RANGE (measured_at);
DO $$
BEGIN
  FOR d IN 0..29 LOOP
    EXECUTE format('CREATE TABLE measurement_%s PARTITION OF measurement FOR VALUES FROM (%L) TO (%L)',
      to_char(date '2026-01-01' + d, 'YYYYMMDD'), date '2026-01-01' + d, date '2026-01-01' + d + 1);
  END LOOP;
END $$;
CREATE TABLE daily_summary (station_id integer NOT NULL REFERENCES station, day date NOT NULL, temp_min real, temp_max real, rain_mm real, PRIMARY KEY (station_id, day));
CREATE TABLE ingest_log (id bigserial PRIMARY KEY, file_name text NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now(), rows_loaded integer);

INSERT INTO sensor_kind VALUES ('temperature', '°C'), ('rain', 'mm'), ('wind', 'm/s');
INSERT INTO station SELECT n, 'Station ' || n, 47, 8, 400, '2020-01-01' FROM generate_series(1, 60) n;
INSERT INTO sensor SELECT n, 1 + n % 60, (ARRAY['temperature','rain','wind'])[1 + n % 3], 'S' || n, now(), 0 FROM generate_series(1, 180) n;
INSERT INTO measurement SELECT s, timestamptz '2026-01-01 00:00+00' + m * interval '30 min', m * 0.1, 0 FROM generate_series(1, 60) s, generate_series(0, 30 * 48 - 4) m;
INSERT INTO daily_summary SELECT s, date '2026-01-01' + d, 1, 2, 3 FROM generate_series(1, 60) s, generate_series(0, 29) d;
INSERT INTO ingest_log (file_name, rows_loaded) SELECT 'f' || n, 100 FROM generate_series(1, 2000) n;
ANALYZE;
