import bmemcached
from outcomes import HOST, PORT, outcome

client = bmemcached.Client(f"{HOST}:{PORT}")
outcome("set", client.set, "k", "one")
outcome("get", client.get, "k")
