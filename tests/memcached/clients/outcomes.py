"""Prints what the calls of a client return or raise, one line each, without addresses and versions."""

import asyncio
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
LARGE = "x" * (2 * 1024 * 1024)


def show(name, result):
    text = result if isinstance(result, str) else repr(result)
    text = text.replace(str(PORT), "PORT")
    if len(text) > 200:
        text = f"{text[:100]}… ({len(text)})"
    print(f"{name}: {text}", flush=True)


def outcome(name, call, *arguments, **named):
    try:
        result = repr(call(*arguments, **named))
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    show(name, result)


async def outcome_of(name, awaitable):
    try:
        result = repr(await asyncio.wait_for(awaitable, 20))
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    show(name, result)
