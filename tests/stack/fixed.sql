-- What the schema lacks on purpose.
CREATE INDEX orders_reference ON orders (reference);
