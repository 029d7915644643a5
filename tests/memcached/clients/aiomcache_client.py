import asyncio
import aiomcache
from outcomes import HOST, LARGE, PORT, outcome_of, show


async def main():
    client = aiomcache.Client(HOST, PORT)
    await outcome_of("flush", client.flush_all())
    await outcome_of("set", client.set(b"k", b"one"))
    await outcome_of("get", client.get(b"k"))
    await outcome_of("set with an expiry", client.set(b"e", b"x", exptime=100))
    await outcome_of("set that has expired", client.set(b"p", b"x", exptime=-1))
    await outcome_of("get what has expired", client.get(b"p"))
    await outcome_of("add", client.add(b"k", b"two"))
    await outcome_of("replace", client.replace(b"k", b"three"))
    await outcome_of("replace nothing", client.replace(b"none", b"x"))
    await outcome_of("append", client.append(b"k", b"4"))
    await outcome_of("prepend", client.prepend(b"k", b"2"))
    await outcome_of("multi get", client.multi_get(b"k", b"e", b"none"))
    value, cas = await client.gets(b"k")
    show("gets", value)
    await outcome_of("cas", client.cas(b"k", b"new", cas))
    await outcome_of("old cas", client.cas(b"k", b"new", cas))
    await outcome_of("set number", client.set(b"n", b"5"))
    await outcome_of("incr", client.incr(b"n", 37))
    await outcome_of("decr", client.decr(b"n", 2))
    await outcome_of("incr nothing", client.incr(b"none"))
    await outcome_of("incr text", client.incr(b"k"))
    await outcome_of("touch", client.touch(b"k", 100))
    await outcome_of("touch nothing", client.touch(b"none", 100))
    await outcome_of("delete", client.delete(b"k"))
    await outcome_of("delete nothing", client.delete(b"k"))
    await outcome_of("long key", client.set(b"k" * 251, b"x"))
    await outcome_of("large value", client.set(b"large", LARGE.encode()))
    await outcome_of("after the errors", client.set(b"k", b"x"))
    stats = await client.stats()
    show("stats", b"curr_items" in stats)
    show("version", bool(await client.version()))
    gets = [client.get(b"k") for _ in range(50)]
    show("together", set(await asyncio.gather(*gets)))
    await outcome_of("flush", client.flush_all())
    await outcome_of("get flushed", client.get(b"k"))
    await client.close()


asyncio.run(main())
