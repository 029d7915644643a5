from django.conf import settings
from django.core.cache import caches
from outcomes import HOST, LARGE, PORT, outcome

BACKENDS = ["PyMemcacheCache", "PyLibMCCache"]
settings.configure(
    CACHES={
        name: {
            "BACKEND": f"django.core.cache.backends.memcached.{backend}",
            "LOCATION": f"{HOST}:{PORT}",
        }
        for name, backend in {"default": BACKENDS[0], **dict(zip(BACKENDS, BACKENDS))}.items()
    },
)

for name in BACKENDS:
    cache = caches[name]
    print(name)
    outcome("clear", cache.clear)
    outcome("set", cache.set, "k", "one")
    outcome("get", cache.get, "k")
    outcome("get nothing", cache.get, "none", "default")
    outcome("set structure", cache.set, "s", {"a": [1, 2]}, 100)
    outcome("get structure", cache.get, "s")
    outcome("set forever", cache.set, "f", 1, None)
    outcome("set expired", cache.set, "t", 1, 0)
    outcome("get expired", cache.get, "t")
    outcome("set past", cache.set, "t", 1, -5)
    outcome("get past", cache.get, "t")
    outcome("add", cache.add, "k", "two")
    outcome("add new", cache.add, "new", "two")
    outcome("get or set", cache.get_or_set, "g", lambda: 7, 100)
    outcome("has key", cache.has_key, "k")
    outcome("incr", cache.incr, "f", 41)
    outcome("decr", cache.decr, "f")
    outcome("incr nothing", cache.incr, "none")
    outcome("incr text", cache.incr, "k")
    outcome("touch", cache.touch, "k", 100)
    outcome("touch nothing", cache.touch, "none", 100)
    outcome("touch to the end", cache.touch, "k", 0)
    outcome("get ended", cache.get, "k")
    outcome("set many", cache.set_many, {"a": 1, "b": 2})
    outcome("get many", lambda: sorted(cache.get_many(["a", "b", "c"]).items()))
    outcome("versions", cache.set, "a", 3, version=2)
    outcome("incr version", cache.incr_version, "a", version=2)
    outcome("get of a version", cache.get, "a", version=3)
    outcome("delete", cache.delete, "a")
    outcome("delete nothing", cache.delete, "a")
    outcome("delete many", cache.delete_many, ["a", "b"])
    outcome("long key", cache.set, "k" * 251, "x")
    outcome("key with a blank", cache.set, "a b", "x")
    outcome("large value", cache.set, "large", LARGE)
    outcome("get large value", cache.get, "large")
    outcome("after the errors", cache.set, "k", "x")
    outcome("clear", cache.clear)
    outcome("get cleared", cache.get, "k")
    cache.close()
