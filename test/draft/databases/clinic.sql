-- A clinic's bookings: composite keys, tables that refer to each other, a tree, two owners of one table,
-- deferred keys, states as numbers and as letters, words in another order.
CREATE TABLE practices (code text PRIMARY KEY, title text NOT NULL, head_doctor integer);
CREATE TABLE doctors (
  id           integer PRIMARY KEY,
  practice     text NOT NULL REFERENCES practices ON UPDATE CASCADE,
  last_name    text NOT NULL,
  substitute   integer REFERENCES doctors,
  on_leave     boolean NOT NULL DEFAULT false
);
ALTER TABLE practices ADD FOREIGN KEY (head_doctor) REFERENCES doctors;
CREATE TABLE departments (id serial PRIMARY KEY, parent_id integer REFERENCES departments, name text NOT NULL, closed_on date);
CREATE TABLE patients (
  practice    text NOT NULL REFERENCES practices ON UPDATE CASCADE,
  number      integer NOT NULL,
  last_name   text NOT NULL,
  born        date,
  insurance   text,
  gone        boolean,
  changed     timestamp NOT NULL DEFAULT localtimestamp,
  PRIMARY KEY (practice, number)
);
CREATE TABLE appointments (
  practice    text NOT NULL,
  patient     integer NOT NULL,
  starts_at   timestamptz NOT NULL,
  doctor      integer NOT NULL REFERENCES doctors,
  state       smallint NOT NULL DEFAULT 0 CHECK (state IN (0, 1, 2, 3)),
  room        char(4),
  confirmed_at timestamptz,
  no_show     boolean NOT NULL DEFAULT false,
  PRIMARY KEY (practice, patient, starts_at),
  FOREIGN KEY (practice, patient) REFERENCES patients ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE treatments (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  practice    text NOT NULL,
  patient     integer NOT NULL,
  starts_at   timestamptz NOT NULL,
  kind        text NOT NULL,
  progress    char(1) NOT NULL DEFAULT 'N' CHECK (progress IN ('N', 'R', 'D', 'X')),
  fee         numeric(8,2) NOT NULL DEFAULT 0,
  findings    text,
  signed_by   integer REFERENCES doctors,
  FOREIGN KEY (practice, patient, starts_at) REFERENCES appointments ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE prescriptions (
  treatment   bigint NOT NULL REFERENCES treatments ON DELETE CASCADE,
  patient_practice text NOT NULL, patient_number integer NOT NULL,
  drug        text NOT NULL, dose interval, daily int4range,
  PRIMARY KEY (treatment, drug),
  FOREIGN KEY (patient_practice, patient_number) REFERENCES patients ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE invoices (
  year int NOT NULL, no int NOT NULL, practice text NOT NULL, patient int NOT NULL,
  status varchar(20) NOT NULL DEFAULT 'open', amount_cents bigint NOT NULL, due date, sent_at timestamptz, dunning_level smallint NOT NULL DEFAULT 0,
  PRIMARY KEY (year, no), FOREIGN KEY (practice, patient) REFERENCES patients ON UPDATE CASCADE
);
CREATE TABLE invoice_items (
  year int NOT NULL, no int NOT NULL, pos int NOT NULL, text text NOT NULL, cents bigint NOT NULL,
  PRIMARY KEY (pos, year, no), FOREIGN KEY (year, no) REFERENCES invoices ON DELETE CASCADE
);
CREATE TABLE waiting_list (place int PRIMARY KEY DEFERRABLE, practice text, patient int, wish text, since timestamptz);

INSERT INTO practices VALUES ('north', 'North', NULL), ('south', 'South, old', NULL);
INSERT INTO doctors SELECT n, CASE WHEN n % 2 = 0 THEN 'north' ELSE 'south' END, 'Doctor ' || n FROM generate_series(1, 6) n;
UPDATE practices SET head_doctor = 1;
INSERT INTO departments (name) VALUES ('all'); INSERT INTO departments (parent_id, name) SELECT 1, 'd' || n FROM generate_series(1, 5) n;
INSERT INTO patients SELECT CASE WHEN n % 2 = 0 THEN 'north' ELSE 'south' END, n, 'Patient ' || n, date '1980-01-01' + n FROM generate_series(1, 120) n;
INSERT INTO appointments SELECT practice, number, timestamptz '2026-01-01 09:00+00' + number * interval '1 hour', 1 + number % 6, number % 4 FROM patients;
INSERT INTO treatments (practice, patient, starts_at, kind, progress, fee)
  SELECT practice, patient, starts_at, 'check', (ARRAY['N','R','D','X'])[1 + patient % 4], patient FROM appointments;
INSERT INTO prescriptions SELECT id, practice, patient, 'aspirin', '1 day', '[1,3)' FROM treatments;
INSERT INTO invoices SELECT 2026, number, practice, number, (ARRAY['open','sent','paid','written_off'])[1 + number % 4], number * 100, NULL, NULL FROM patients;
INSERT INTO invoice_items SELECT year, no, 1, 'check', amount_cents FROM invoices;
