import os

from meta_memcache import CacheClient, Key, ServerAddress, connection_pool_factory_builder
from meta_memcache.configuration import LeasePolicy, StalePolicy
from meta_memcache.protocol import SetMode
from outcomes import HOST, LARGE, PORT, outcome

client = CacheClient.cache_client_from_servers(
    servers=[ServerAddress(HOST, PORT)],
    connection_pool_factory_fn=connection_pool_factory_builder(recv_timeout=20),
)
outcome("set", client.set, Key("k"), "one", ttl=100)
outcome("get", client.get, Key("k"))
outcome("set structure", client.set, Key("s"), {"a": [1, 2]}, ttl=100)
outcome("get structure", client.get, Key("s"))
outcome("set of a long key", client.set, Key("k" * 300), "x", ttl=100)
outcome("get of a long key", client.get, Key("k" * 300))
outcome("key in other letters", client.set, Key("schlüssel mit leer"), "x", ttl=100)
outcome("get by other letters", client.get, Key("schlüssel mit leer"))
outcome("add", client.set, Key("k"), "two", ttl=100, set_mode=SetMode.ADD)
outcome("replace", client.set, Key("k"), "three", ttl=100, set_mode=SetMode.REPLACE)
outcome("replace nothing", client.set, Key("none"), "x", ttl=100, set_mode=SetMode.REPLACE)
outcome("append", client.set, Key("k"), "4", ttl=100, set_mode=SetMode.APPEND)
outcome("prepend", client.set, Key("k"), "2", ttl=100, set_mode=SetMode.PREPEND)
outcome("silent set", client.set, Key("q"), "x", ttl=100, no_reply=True)
outcome("get silent", client.get, Key("q"))
outcome("refill", client.refill, Key("new"), "x", ttl=100)
# It holds a cas in 32 bits, and takes a greater one for none.
outcome("get with a cas", lambda: client.get_cas(Key("k"))[0])
keys = [Key("k"), Key("q"), Key("none")]
outcome("multi get", lambda: [client.multi_get(keys)[key] for key in keys])
outcome("get or lease", client.get_or_lease, Key("lease"), lease_policy=LeasePolicy())
outcome("get and touch", client.get, Key("k"), touch_ttl=50)
outcome("touch", client.touch, Key("k"), ttl=50)
outcome("touch nothing", client.touch, Key("none"), ttl=50)
outcome("delta", client.delta, Key("n"), delta=1)
FIRST = {"initial_value": 5, "initial_ttl": 100}
outcome("delta with a first value", client.delta_initialize, Key("n"), delta=1, **FIRST)
outcome("delta again", client.delta_and_get, Key("n"), delta=37)
outcome("delta down", client.delta_and_get, Key("n"), delta=-2)
outcome("delta of nothing", client.delta_initialize_and_get, Key("m"), delta=1, **FIRST)
outcome("delta of text", client.delta_and_get, Key("k"), delta=1)
policy = StalePolicy(mark_stale_on_deletion_ttl=30)
outcome("invalidate", client.invalidate, Key("k"), stale_policy=policy)
outcome("get stale", client.get, Key("k"))
outcome("get stale again", client.get, Key("k"))
outcome("delete", client.delete, Key("q"))
outcome("delete nothing", client.delete, Key("q"))
outcome("silent delete", client.delete, Key("s"), no_reply=True)
outcome("get deleted", client.get, Key("s"))
outcome("large value", client.set, Key("large"), os.urandom(len(LARGE)), ttl=100)
outcome("after the errors", client.set, Key("k"), "x", ttl=100)
