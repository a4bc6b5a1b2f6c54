-- What web frameworks make: plural tables, no foreign keys, polymorphic references, a log of versions,
-- sessions and migrations, content types. Prefixes per module as the other framework writes them.
CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY);
CREATE TABLE ar_internal_metadata (key varchar NOT NULL PRIMARY KEY, value varchar, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE users (id bigserial PRIMARY KEY, email varchar NOT NULL DEFAULT '', encrypted_password varchar NOT NULL DEFAULT '', reset_password_token varchar, first_name varchar, last_name varchar, birth_date date, role varchar NOT NULL DEFAULT 'customer', sign_in_count integer NOT NULL DEFAULT 0, current_sign_in_ip inet, deleted_at timestamp(6), created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, user_id bigint NOT NULL, state varchar NOT NULL DEFAULT 'cart', total_cents integer NOT NULL DEFAULT 0, currency varchar(3) NOT NULL DEFAULT 'EUR', completed_at timestamp(6), lock_version integer NOT NULL DEFAULT 0, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE order_items (id bigserial PRIMARY KEY, order_id bigint NOT NULL, product_id bigint NOT NULL, quantity integer NOT NULL, price_cents integer NOT NULL, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE order_item_adjustments (id bigserial PRIMARY KEY, order_item_id bigint NOT NULL, amount_cents integer NOT NULL, label varchar);
CREATE TABLE products (id bigserial PRIMARY KEY, name varchar NOT NULL, price_cents integer NOT NULL, description text, published boolean NOT NULL DEFAULT false, comments_count integer NOT NULL DEFAULT 0, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE comments (id bigserial PRIMARY KEY, commentable_type varchar NOT NULL, commentable_id bigint NOT NULL, user_id bigint, body text, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE versions (id bigserial PRIMARY KEY, item_type varchar NOT NULL, item_id bigint NOT NULL, event varchar NOT NULL, whodunnit varchar, object jsonb, object_changes jsonb, created_at timestamp(6));
CREATE TABLE products_tags (product_id bigint NOT NULL, tag_id bigint NOT NULL);
CREATE TABLE tags (id bigserial PRIMARY KEY, name varchar NOT NULL);
CREATE TABLE delayed_jobs (id bigserial PRIMARY KEY, priority integer NOT NULL DEFAULT 0, attempts integer NOT NULL DEFAULT 0, handler text NOT NULL, run_at timestamp, locked_at timestamp);
CREATE TABLE django_content_type (id serial PRIMARY KEY, app_label varchar(100) NOT NULL, model varchar(100) NOT NULL, UNIQUE (app_label, model));
CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text NOT NULL, expire_date timestamptz NOT NULL);
CREATE TABLE django_admin_log (id serial PRIMARY KEY, action_time timestamptz NOT NULL, object_id text, object_repr varchar(200) NOT NULL, action_flag smallint NOT NULL, content_type_id integer, user_id integer NOT NULL);
CREATE TABLE billing_subscription (id serial PRIMARY KEY, customer_id integer NOT NULL, plan varchar(20) NOT NULL, status varchar(20) NOT NULL, monthly_fee numeric(8,2) NOT NULL, is_active boolean NOT NULL, started_on date NOT NULL, cancelled_on date, modified timestamptz NOT NULL);

INSERT INTO users (email, first_name, last_name, created_at, updated_at) SELECT 'u' || n || '@example.org', 'First ' || n, 'Last ' || n, now(), now() FROM generate_series(1, 1000) n;
INSERT INTO products (name, price_cents, created_at, updated_at) SELECT 'Product ' || n, n, now(), now() FROM generate_series(1, 200) n;
INSERT INTO orders (user_id, state, total_cents, created_at, updated_at) SELECT 1 + n % 1000, (ARRAY['cart','placed','paid','shipped','cancelled'])[1 + n % 5], n, now(), now() FROM generate_series(1, 3000) n;
INSERT INTO order_items (order_id, product_id, quantity, price_cents, created_at, updated_at) SELECT n, 1 + n % 200, 1, 100, now(), now() FROM generate_series(1, 3000) n, generate_series(1, 2);
INSERT INTO order_item_adjustments (order_item_id, amount_cents, label) SELECT n, 1, 'tax' FROM generate_series(1, 6000) n;
INSERT INTO comments (commentable_type, commentable_id, body, created_at, updated_at) SELECT (ARRAY['Product','Order'])[1 + n % 2], n, 'text', now(), now() FROM generate_series(1, 500) n;
INSERT INTO versions (item_type, item_id, event, object, created_at) SELECT 'Order', n, 'update', '{}', now() FROM generate_series(1, 3000) n;
INSERT INTO products_tags SELECT n, 1 + n % 10 FROM generate_series(1, 200) n;
INSERT INTO tags (name) SELECT 'tag ' || n FROM generate_series(1, 10) n;
INSERT INTO django_session SELECT md5(n::text), 'x', now() FROM generate_series(1, 500) n;
INSERT INTO billing_subscription (customer_id, plan, status, monthly_fee, is_active, started_on, modified) SELECT n, 'basic', (ARRAY['trial','active','cancelled'])[1 + n % 3], 9, true, current_date, now() FROM generate_series(1, 800) n;
ANALYZE;
