import asyncio
import emcache
from outcomes import HOST, LARGE, PORT, outcome_of, show


async def shown(name, awaitable):
    try:
        item = await awaitable
        show(name, None if item is None else (item.value, item.flags))
    except Exception as error:
        show(name, f"{type(error).__name__}: {error}")


async def main():
    address = emcache.MemcachedHostAddress(HOST, PORT)
    client = await emcache.create_client([address], timeout=20.0)
    await outcome_of("flush", client.flush_all(address))
    await outcome_of("set", client.set(b"k", b"one", flags=7))
    await shown("get", client.get(b"k", return_flags=True))
    await outcome_of("silent set", client.set(b"q", b"one", noreply=True))
    await outcome_of("set with an expiry", client.set(b"e", b"x", exptime=100))
    await outcome_of("add", client.add(b"k", b"two"))
    await outcome_of("add new", client.add(b"new", b"two"))
    await outcome_of("replace", client.replace(b"k", b"three"))
    await outcome_of("replace nothing", client.replace(b"none", b"x"))
    await outcome_of("append", client.append(b"k", b"4"))
    await outcome_of("prepend", client.prepend(b"k", b"2"))
    item = await client.gets(b"k")
    show("gets", item.value)
    await outcome_of("cas", client.cas(b"k", b"new", item.cas))
    await outcome_of("old cas", client.cas(b"k", b"new", item.cas))
    await outcome_of("cas of nothing", client.cas(b"none", b"new", item.cas))
    many = await client.get_many([b"k", b"e", b"none"])
    show("get many", sorted((key, item.value) for key, item in many.items()))
    many = await client.gets_many([b"k", b"e", b"none"])
    show("gets many", sorted(many))
    await shown("gat", client.gat(100, b"k"))
    await shown("gats", client.gats(100, b"k"))
    await outcome_of("set number", client.set(b"n", b"5"))
    await outcome_of("increment", client.increment(b"n", 37))
    await outcome_of("decrement", client.decrement(b"n", 2))
    await outcome_of("increment nothing", client.increment(b"none", 1))
    await outcome_of("increment text", client.increment(b"k", 1))
    await outcome_of("touch", client.touch(b"k", 100))
    await outcome_of("touch nothing", client.touch(b"none", 100))
    await outcome_of("delete", client.delete(b"k"))
    await outcome_of("delete nothing", client.delete(b"k"))
    await outcome_of("long key", client.set(b"k" * 251, b"x"))
    await outcome_of("large value", client.set(b"large", LARGE.encode()))
    await outcome_of("after the errors", client.set(b"k", b"x"))
    show("stats", "curr_items" in await client.stats(address))
    show("version", bool(await client.version(address)))
    await outcome_of("verbosity", client.verbosity(address, 0))
    await outcome_of("memlimit", client.cache_memlimit(address, 64))
    await outcome_of("flush", client.flush_all(address))
    await shown("get flushed", client.get(b"k"))
    await client.close()


asyncio.run(main())
