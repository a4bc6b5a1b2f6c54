-- A film rental as in the well-known sample database: smallints, domains, a partitioned payment table,
-- a full-text column kept by a trigger, and two tables that refer to each other.
CREATE TYPE mpaa_rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');
CREATE DOMAIN year AS integer CHECK (VALUE >= 1901 AND VALUE <= 2155);

CREATE FUNCTION last_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.last_update = now(); RETURN NEW; END $$;

CREATE TABLE actor (actor_id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE category (category_id serial PRIMARY KEY, name text NOT NULL, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE language (language_id serial PRIMARY KEY, name character(20) NOT NULL, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE country (country_id serial PRIMARY KEY, country text NOT NULL, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE city (city_id serial PRIMARY KEY, city text NOT NULL, country_id integer NOT NULL REFERENCES country ON UPDATE CASCADE ON DELETE RESTRICT, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE address (
  address_id serial PRIMARY KEY, address text NOT NULL, address2 text, district text NOT NULL,
  city_id integer NOT NULL REFERENCES city ON UPDATE CASCADE ON DELETE RESTRICT,
  postal_code text, phone text NOT NULL, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE film (
  film_id serial PRIMARY KEY, title text NOT NULL, description text, release_year year,
  language_id integer NOT NULL REFERENCES language ON UPDATE CASCADE ON DELETE RESTRICT,
  original_language_id integer REFERENCES language ON UPDATE CASCADE ON DELETE RESTRICT,
  rental_duration smallint NOT NULL DEFAULT 3, rental_rate numeric(4,2) NOT NULL DEFAULT 4.99,
  length smallint, replacement_cost numeric(5,2) NOT NULL DEFAULT 19.99, rating mpaa_rating DEFAULT 'G',
  last_update timestamptz NOT NULL DEFAULT now(), special_features text[], fulltext tsvector);
CREATE TABLE film_actor (
  actor_id integer NOT NULL REFERENCES actor ON UPDATE CASCADE ON DELETE RESTRICT,
  film_id integer NOT NULL REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
  last_update timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (actor_id, film_id));
CREATE TABLE film_category (
  film_id integer NOT NULL REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
  category_id integer NOT NULL REFERENCES category ON UPDATE CASCADE ON DELETE RESTRICT,
  last_update timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (film_id, category_id));
CREATE TABLE store (
  store_id serial PRIMARY KEY, manager_staff_id integer NOT NULL,
  address_id integer NOT NULL REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE staff (
  staff_id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL,
  address_id integer NOT NULL REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT, email text,
  store_id integer NOT NULL REFERENCES store, active boolean NOT NULL DEFAULT true,
  username text NOT NULL, password text, last_update timestamptz NOT NULL DEFAULT now(), picture bytea);
ALTER TABLE store ADD FOREIGN KEY (manager_staff_id) REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE customer (
  customer_id serial PRIMARY KEY, store_id integer NOT NULL REFERENCES store ON UPDATE CASCADE ON DELETE RESTRICT,
  first_name text NOT NULL, last_name text NOT NULL, email text,
  address_id integer NOT NULL REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT,
  activebool boolean NOT NULL DEFAULT true, create_date date NOT NULL DEFAULT current_date,
  last_update timestamptz DEFAULT now(), active integer);
CREATE TABLE inventory (
  inventory_id serial PRIMARY KEY, film_id integer NOT NULL REFERENCES film ON UPDATE CASCADE ON DELETE RESTRICT,
  store_id integer NOT NULL REFERENCES store ON UPDATE CASCADE ON DELETE RESTRICT, last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE rental (
  rental_id serial PRIMARY KEY, rental_date timestamptz NOT NULL,
  inventory_id integer NOT NULL REFERENCES inventory ON UPDATE CASCADE ON DELETE RESTRICT,
  customer_id integer NOT NULL REFERENCES customer ON UPDATE CASCADE ON DELETE RESTRICT,
  return_date timestamptz, staff_id integer NOT NULL REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT,
  last_update timestamptz NOT NULL DEFAULT now());
CREATE TABLE payment (
  payment_id serial, customer_id integer NOT NULL, staff_id integer NOT NULL, rental_id integer NOT NULL,
  amount numeric(5,2) NOT NULL, payment_date timestamptz NOT NULL, PRIMARY KEY (payment_date, payment_id)
) PARTITION BY RANGE (payment_date);
DO $$
BEGIN
  FOR m IN 1..6 LOOP
    EXECUTE format('CREATE TABLE payment_p2026_%s PARTITION OF payment FOR VALUES FROM (%L) TO (%L)',
      lpad(m::text, 2, '0'), make_date(2026, m, 1), make_date(2026, m, 1) + interval '1 month');
    -- As it was done before a partitioned table could have foreign keys.
    EXECUTE format('ALTER TABLE payment_p2026_%s ADD FOREIGN KEY (customer_id) REFERENCES customer, ADD FOREIGN KEY (staff_id) REFERENCES staff, ADD FOREIGN KEY (rental_id) REFERENCES rental', lpad(m::text, 2, '0'));
  END LOOP;
END $$;
CREATE VIEW customer_list AS SELECT * FROM customer;
CREATE TRIGGER last_updated BEFORE UPDATE ON film FOR EACH ROW EXECUTE FUNCTION last_updated();
CREATE TRIGGER last_updated BEFORE UPDATE ON rental FOR EACH ROW EXECUTE FUNCTION last_updated();

INSERT INTO language (name) VALUES ('English'), ('French'), ('Japanese');
INSERT INTO category (name) SELECT 'Category ' || n FROM generate_series(1, 16) n;
INSERT INTO country (country) SELECT 'Country ' || n FROM generate_series(1, 109) n;
INSERT INTO city (city, country_id) SELECT 'City ' || n, 1 + n % 109 FROM generate_series(1, 600) n;
INSERT INTO address (address, district, city_id, phone) SELECT n || ' Street', 'District', 1 + n % 600, '555-' || n FROM generate_series(1, 603) n;
INSERT INTO actor (first_name, last_name) SELECT 'First ' || n, 'Last ' || n FROM generate_series(1, 200) n;
INSERT INTO film (title, description, release_year, language_id, rating, special_features, fulltext)
  SELECT 'Film ' || n, 'A description of the film ' || n, 2006, 1, (enum_range(NULL::mpaa_rating))[1 + n % 5], '{Trailers,Commentaries}', to_tsvector('film ' || n)
    FROM generate_series(1, 1000) n;
INSERT INTO film_actor (actor_id, film_id) SELECT DISTINCT 1 + (f * 7 + a * 31) % 200, f FROM generate_series(1, 1000) f, generate_series(1, 5) a;
INSERT INTO film_category (film_id, category_id) SELECT f, 1 + f % 16 FROM generate_series(1, 1000) f;
BEGIN;
INSERT INTO store (store_id, manager_staff_id, address_id) VALUES (1, 1, 1), (2, 2, 2);
INSERT INTO staff (first_name, last_name, address_id, store_id, username) VALUES ('Mike', 'Hillyer', 3, 1, 'Mike'), ('Jon', 'Stephens', 4, 2, 'Jon');
COMMIT;
INSERT INTO customer (store_id, first_name, last_name, email, address_id, active) SELECT 1 + n % 2, 'First ' || n, 'Last ' || n, 'c' || n || '@example.org', 5 + n % 590, 1 FROM generate_series(1, 599) n;
INSERT INTO inventory (film_id, store_id) SELECT 1 + n % 1000, 1 + n % 2 FROM generate_series(1, 4581) n;
INSERT INTO rental (rental_date, inventory_id, customer_id, return_date, staff_id)
  SELECT timestamptz '2026-01-01' + n * interval '16 min', 1 + n % 4581, 1 + n % 599, CASE WHEN n % 90 > 0 THEN timestamptz '2026-01-04' + n * interval '16 min' END, 1 + n % 2
    FROM generate_series(1, 16044) n;
INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date)
  SELECT customer_id, staff_id, rental_id, 0.99 + rental_id % 10, rental_date FROM rental;
ANALYZE;
