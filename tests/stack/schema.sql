-- A shop: 10,000 customers with 20 orders each, of which every one has two lines.
CREATE EXTENSION pg_stat_statements;

CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE
);
INSERT INTO customers
SELECT id, 'Customer ' || id, 'customer' || id || '@example.com'
FROM generate_series(1, 10000) AS id;

-- PLANTED (missing index): orders are looked up by their reference as well,
-- and no index has it. fixed.sql makes it.
CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL,
    reference text NOT NULL,
    ordered_at timestamptz NOT NULL
);
INSERT INTO orders
SELECT id, 1 + id % 10000, 'R-' || md5(id::text), now() - id * interval '1 minute'
FROM generate_series(1, 200000) AS id;
CREATE INDEX orders_customer_id ON orders (customer_id);
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers;
CREATE INDEX orders_ordered_at ON orders (ordered_at);

CREATE TABLE order_lines (
    order_id integer NOT NULL,
    line integer NOT NULL,
    product_id integer NOT NULL,
    quantity integer NOT NULL,
    cents integer NOT NULL
);
INSERT INTO order_lines
SELECT id, line, 1 + (id * 7 + line) % 100, 1 + id % 3, 100 + (id * 37) % 900
FROM generate_series(1, 200000) AS id, generate_series(1, 2) AS line;
ALTER TABLE order_lines
    ADD PRIMARY KEY (order_id, line),
    ADD FOREIGN KEY (order_id) REFERENCES orders;

CREATE TABLE stock (
    product_id integer PRIMARY KEY,
    available integer NOT NULL
);
INSERT INTO stock SELECT id, 1000000 FROM generate_series(1, 100) AS id;

ANALYZE;
