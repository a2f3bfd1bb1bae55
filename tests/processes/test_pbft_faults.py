"""Four real processes under PBFT, of which one or two are killed, paused and cut off: see `pbft_faults`."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.processes.pbft_faults import FAULTS, Links, Lost, check_included, drive


@pytest.mark.live
async def test_four_nodes_lose_one_in_every_way_and_nothing_that_they_acknowledged(tmp_path):
    tally = await drive(tmp_path / "net", nodes=4, seed=4)
    assert set(tally.faults) == set(FAULTS)
    assert tally.faults.total() == len(FAULTS) + 1, "and two of four at once"
    assert len(tally.acknowledged) > tally.blocks, "blocks were not empty"
    assert tally.later_views, "no leader was missed: it is leaders that had to be lost"


def test_what_is_missing_or_there_twice_is_found():
    first, second = (
        SimpleNamespace(transactions=[SimpleNamespace(id=name) for name in names]) for names in ("ab", "c")
    )
    check_included("n0", "abc", [first, second])
    check_included("n0", "", [first, second])  # that an answer was lost is no fault
    with pytest.raises(Lost, match="1 acknowledged are missing"):
        check_included("n0", "abc", [first])
    with pytest.raises(Lost, match="2 twice"):
        check_included("n0", "ab", [first, first])


@pytest.mark.parametrize(("source", "target", "heard"), [("a", "b", b"1"), ("b", "a", b"12")])
async def test_a_way_that_is_cut_holds_what_is_sent_until_it_is_mended(source, target, heard):
    seen = bytearray()

    async def echo(reader, writer):
        while data := await reader.read(100):
            seen.extend(data)
            writer.write(data)

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        links = Links()
        port = await links.open("a", "b", server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"1")
        assert await reader.readexactly(1) == b"1"
        links.cut([source], [target])
        writer.write(b"2")
        answer = asyncio.ensure_future(reader.readexactly(1))
        await asyncio.sleep(0.05)  # long enough to pass where nothing holds it
        assert not answer.done()
        assert seen == heard
        links.heal()
        assert await answer == b"2"
        writer.close()
        await links.close()
