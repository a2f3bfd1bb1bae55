"""Web pages of other origins send nothing to a node's API: it has no CORS headers, and refuses their requests."""

import aiohttp
import pytest


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


@pytest.mark.parametrize("host", ["rebound.example.org:9200", "127.0.0.1.example.org", "[::1", ""])
async def test_a_name_that_leads_here_makes_no_page_ours(api, host):
    assert await post(api, f"http://{host}", Host=host or "x") == (403, "ForeignOrigin")


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
