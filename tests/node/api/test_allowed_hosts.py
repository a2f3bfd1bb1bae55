"""Web pages of other origins send nothing to a node's API: it has no CORS headers, and refuses their requests."""

import aiohttp
import pytest

from node.api.allowed_hosts import check_host
from node.config import ListenAddress
from node.errors import ForeignHost


@pytest.fixture
async def api(make_local):
    local = make_local(1, seals=False)
    async with local.running(0) as [runtime], aiohttp.ClientSession() as session:
        yield session, f"http://127.0.0.1:{runtime.api_port}"


async def post(api, origin, **headers):
    session, url = api
    given = {} if origin is None else {"Origin": origin.format(url=url)}
    async with session.post(f"{url}/v1/jy1/tx", data=b"\x90", headers={**given, **headers}) as answer:
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
        return answer.status, (await answer.json()).get("error")


async def test_a_program_and_a_page_of_the_node_itself_may_post(api):
    assert await post(api, None) == (200, None)
    assert await post(api, "{url}") == (200, None)


@pytest.mark.parametrize("origin", ["http://example.org", "https://127.0.0.1", "null", "", "file://"])
async def test_a_page_of_another_origin_may_not(api, origin):
    assert await post(api, origin) == (403, "ForeignOrigin")


FOREIGN = [
    "rebound.example.org",
    "127.0.0.1.example.org",
    "dispatch",
    "[::1",
    "",
    "localhost.example.org",
    "@",
    "::1:x",
]


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_name_that_leads_here_is_not_answered_to(api, host):
    session, url = api
    for path in ("/v1/status", "/v1/jy1/status", "/metrics", "/v1/jy1/events", "/nothing"):
        async with session.get(f"{url}{path}", headers={"Host": host and f"{host}:9200"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (403, "ForeignHost")
    assert await post(api, f"http://{host}", Host=host) == (403, "ForeignHost")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:9200", "LOCALHOST", "[::1]:9200", "10.1.2.3"])
async def test_addresses_and_localhost_are_answered_to(api, host):
    session, url = api
    async with session.get(f"{url}/v1/status", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("listen", "names", "good", "bad"),
    [
        ("127.0.0.1", (), [None, "127.0.0.1"], ["node", "node.example.org"]),
        ("localhost", (), ["localhost"], ["node"]),
        ("0.0.0.0", (), ["dispatch:9200", "homes-1", "10.0.0.7", "localhost"], ["node.example.org", "", "."]),
        ("node.example.org", (), ["node.example.org:9200", "NODE.example.org"], ["other.example.org"]),
        ("127.0.0.1", ("node.example.org",), ["node.example.org"], ["example.org", "node"]),
    ],
)
def test_which_names_an_api_answers_to(listen, names, good, bad):
    for header in good:
        check_host(header, ListenAddress(listen, 9_200), names)
    for header in bad:
        with pytest.raises(ForeignHost, match="api_hosts"):
            check_host(header, ListenAddress(listen, 9_200), names)


async def test_browsers_get_no_leave_to_ask_and_reading_needs_none(api):
    session, url = api
    headers = {"Origin": "http://example.org", "Access-Control-Request-Method": "POST"}
    async with session.options(f"{url}/v1/jy1/tx", headers=headers) as answer:
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
    async with session.get(f"{url}/v1/status", headers=headers) as answer:
        assert answer.status == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_body_of_a_gigabyte_is_refused(api):
    session, url = api
    reader_limit = 4_000_000

    async def endless():
        for _ in range(1_000):
            yield bytes(1_000_000)

    sent = []

    async def counted():
        async for chunk in endless():
            sent.append(len(chunk))
            yield chunk

    try:
        async with session.post(f"{url}/v1/jy1/tx", data=counted(), headers={"Content-Length": str(10**9)}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (413, "TooLarge")
    except aiohttp.ClientError:
        pass  # it was cut off before the answer could be read
    assert sum(sent) < 100 * reader_limit
