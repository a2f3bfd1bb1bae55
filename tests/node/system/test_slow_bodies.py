"""Bodies that never come to their end shut out no honest client, not even one of the same host."""

import asyncio
import socket

import aiohttp

from ledger.codec import encode
from node.system.http_listener import MAX_BODIES_PER_REMOTE, MAX_PER_REMOTE

HONEST = 10
HEAD = b"POST /v1/jy1/tx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"


async def send_slowly(port):
    """A connection that has begun to send a body."""
    plain = socket.socket()
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(plain, HEAD + b"\xdd")
    return plain


async def test_slow_bodies_of_one_host_leave_its_honest_requests_answered(make_local):
    local = make_local(2, seals=False)
    async with local.running(0) as [node]:
        slow, url = [], f"http://127.0.0.1:{node.api_port}"
        for _ in range(MAX_PER_REMOTE + 10):
            slow.append(await send_slowly(node.api_port))
        for number in range(HONEST):
            async with aiohttp.ClientSession(url) as session:  # each time on a connection of its own
                async with session.get("/v1/status") as answer:
                    assert answer.status == 200
                async with session.post("/v1/jy1/tx", data=encode([local.transfer(number).raw])) as answer:
                    assert (answer.status, (await answer.json())["outcomes"][0]["error"]) == (200, None)
            slow.append(await send_slowly(node.api_port))
        await local.until(lambda: len(node._listeners[1].connections) <= MAX_BODIES_PER_REMOTE)
        for plain in slow:
            plain.close()
