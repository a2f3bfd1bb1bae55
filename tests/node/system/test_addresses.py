"""Addresses: an IPv6 address stands in brackets, and one that does not is told how it has to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.system.addresses import ListenAddress, add_brackets_to_url, parse_listen


@given(
    host=st.one_of(
        st.ip_addresses().map(str), st.sampled_from(["localhost", "node.example.org", "fe80::1%eth0", "::", "0.0.0.0"])
    ),
    port=st.integers(0, 65_535),
)
def test_what_is_written_is_read_again(host, port):
    address = ListenAddress(host, port)
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("::1", "[::1]:9200"),
        ("::", "[::]:9200"),
        ("::1:9100", "[::1]:9100"),
        (":::9100", "[::]:9100"),
        ("2001:db8::7:9100", "[2001:db8::7]:9100"),
        ("2001:db8:1:2:3:4:5:6", "[2001:db8:1:2:3:4:5:6]:9200"),
        ("fe80::1%eth0:9100", "[fe80::1%eth0]:9100"),
        ("one:two:9100", "[::1]:9200"),
    ],
)
def test_an_address_without_its_brackets_is_told_how_it_has_to_be(text, right):
    with pytest.raises(ValueError, match="brackets") as caught:
        parse_listen(text)
    assert str(caught.value) == f'an IPv6 address in brackets, "{right}"'
    parse_listen(right)


@pytest.mark.parametrize("text", ["[]:9100", "[localhost]:9100", "[127.0.0.1]:9100", "[::1:9100", "[::zz]:9100"])
def test_only_an_ipv6_address_stands_in_brackets(text):
    with pytest.raises(ValueError, match=r"^an IPv6 address in the brackets, for example"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["", ":9100", "9100", "host", "host:", "host:x", "[::1]", "host:²"])
def test_an_address_has_a_host_and_a_port(text):
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("http://::1:9200", "http://[::1]:9200"),
        ("https://2001:db8::5/v1", "https://[2001:db8::5]/v1"),
        ("https://[::1]:9100/v1", None),
        ("https://node.example.org:9100/a:b:c", None),
        ("http://127.0.0.1:9200", None),
        ("nothing", None),
    ],
)
def test_the_same_holds_for_a_url(url, right):
    assert add_brackets_to_url(url) == right


def test_what_listens_at_all_addresses_is_reached_at_one():
    assert str(ListenAddress("0.0.0.0", 9_200).nearest) == "127.0.0.1:9200"
    assert str(ListenAddress("::", 9_200).nearest) == "[::1]:9200"
    assert str(ListenAddress("10.0.0.1", 9_200).nearest) == "10.0.0.1:9200"
