import asyncio
import memcachio
from outcomes import HOST, LARGE, PORT, outcome_of, show


async def main():
    client = memcachio.Client((HOST, PORT))
    await outcome_of("flush", client.flushall())
    await outcome_of("set", client.set("k", "one", flags=7))
    many = await client.get("k", "none")
    show("get", [(key, item.value, item.flags) for key, item in many.items()])
    await outcome_of("silent set", client.set("q", "one", noreply=True))
    await outcome_of("set with an expiry", client.set("e", "x", expiry=100))
    await outcome_of("add", client.add("k", "two"))
    await outcome_of("add new", client.add("new", "two"))
    await outcome_of("replace", client.replace("k", "three"))
    await outcome_of("replace nothing", client.replace("none", "x"))
    await outcome_of("append", client.append("k", "4"))
    await outcome_of("prepend", client.prepend("k", "2"))
    item = (await client.gets("k"))[b"k"]
    show("gets", item.value)
    await outcome_of("cas", client.cas("k", "new", item.cas))
    await outcome_of("old cas", client.cas("k", "new", item.cas))
    many = await client.gat("k", expiry=100)
    show("gat", [item.value for item in many.values()])
    many = await client.gats("k", expiry=100)
    show("gats", [item.value for item in many.values()])
    await outcome_of("set number", client.set("n", "5"))
    await outcome_of("incr", client.incr("n", 37))
    await outcome_of("decr", client.decr("n", 2))
    await outcome_of("incr nothing", client.incr("none", 1))
    await outcome_of("incr text", client.incr("k", 1))
    await outcome_of("touch", client.touch("k", 100))
    await outcome_of("touch nothing", client.touch("none", 100))
    await outcome_of("delete", client.delete("k"))
    await outcome_of("delete nothing", client.delete("k"))
    # memcached 1.6.18 answers it twice, and this client takes that for its next answer.
    await outcome_of("long key", memcachio.Client((HOST, PORT)).set("k" * 251, "x"))
    await outcome_of("large value", client.set("large", LARGE))
    await outcome_of("after the errors", client.set("k", "x"))
    show("stats", len(await client.stats()))
    show("version", len(await client.version()))
    gets = [client.get("k") for _ in range(50)]
    answers = await asyncio.gather(*gets)
    show("together", {answer[b"k"].value for answer in answers})
    await outcome_of("flush", client.flushall())
    await outcome_of("get flushed", client.get("k"))


asyncio.run(main())
