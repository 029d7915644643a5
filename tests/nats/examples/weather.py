import asyncio, nats, sys

async def main():
    client = await nats.connect(sys.argv[1])
    weather = await client.subscribe("weather.>")
    await client.publish("weather.graz", b"19.5")
    async for message in weather.messages:
        print(message.subject, message.data.decode())

asyncio.run(main())
