"""Where the services are, and whether their faults are planted."""

import os

POSTGRES = os.environ.get("POSTGRES", "postgres://postgres@127.0.0.1:25432/shop")
REDIS = os.environ.get("REDIS", "redis://127.0.0.1:26379/0")
CARRIER = os.environ.get("CARRIER", "http://127.0.0.1:28083")

# With FIXED=1 every endpoint does what it should have done.
FIXED = os.environ.get("FIXED") == "1"
