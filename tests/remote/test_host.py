"""Hosts and places: one spelling for each, or none, and that spelling is what is dialled."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybridmodel import ConfigurationError, TritonEndpoint
from hybridmodel.remote.address import normal_host, read_address
from hybridmodel.remote.http import connect
from hybridmodel.remote.trust.grants import Grant, parse_grants
from hybridmodel.remote.trust.permission import host_key_names
from tests.support.strategies import law

WRITTEN = {
    "a.example": "a.example",
    "A.Example": "a.example",
    "a.example.": "a.example",
    "LOCALHOST.": "localhost",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "my_service": "my_service",
    "a--b.example": "a--b.example",
    "123.example": "123.example",
    "0x7f": None,
    "0x7f.1": None,
    "1.0x7f": None,
    "127.1": None,
    "127.0.1": None,
    "2130706433": None,
    "017700000001": None,
    "0177.0.0.1": None,
    "127.0.0.01": None,
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "127.0.0.256": None,
    "1.2.3.4.5": None,
    "a.0": None,
    "a.0x": None,
    "[::1]": "::1",
    "[0:0:0:0:0:0:0:1]": "::1",
    "[2001:DB8::1]": "2001:db8::1",
    "[::ffff:127.0.0.1]": None,
    "[::ffff:7f00:1]": None,
    "[fe80::1%eth0]": None,
    "[fe80::1%25eth0]": None,
    "[v1.x]": None,
    "[127.0.0.1]": None,
    "[::1": None,
    "::1": None,
    "": None,
    ".": None,
    "a.example..": None,
    ".a.example": None,
    "a..example": None,
    "-a.example": None,
    "a-.example": None,
    "a.-example": None,
    "%65vil.example": None,
    "evil.example%2f.localhost": None,
    "evil.example\\.localhost": None,
    "evil.example\\": None,
    "evil example": None,
    "evil.example\t": None,
    "evil,example": None,
    "evil;example": None,
    "evil$(id).example": None,
    "evil'.example": None,
    "*.example": None,
    "bücher.example": None,
    "１２７.0.0.1": None,
    "localhost。": None,
    "ⓛocalhost": None,
    "a" * 63 + ".example": "a" * 63 + ".example",
    "a" * 64 + ".example": None,
    ".".join(["a" * 60] * 5): None,
}


@pytest.mark.parametrize(("written", "normal"), WRITTEN.items())
def test_each_host_has_one_spelling_or_none(written: str, normal: str | None) -> None:
    """Odd numbers, dots, zones, backslashes and percents are refused, capitals become small."""
    assert normal_host(written) == normal
    uri = f"https://{written}/score"
    if normal is None:
        with pytest.raises(ConfigurationError):
            TritonEndpoint(uri=uri, model_name="m")
    else:
        shown = f"[{normal}]" if ":" in normal else normal
        assert TritonEndpoint(uri=uri, model_name="m").uri == f"https://{shown}"


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.example\\.localhost",
        "http://evil.example\\@localhost",
        "http://evil.example%2f.localhost:80",
        "http://%6cocalhost",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::ffff:127.0.0.1]",
        "http://2130706433",
        "http://localhost#@evil.example",
        "http://xlocalhost",
    ],
)
def test_no_other_machine_passes_for_this_one(uri: str) -> None:
    """Without encryption only this machine is asked, however another one is spelt."""
    with pytest.raises(ConfigurationError):
        TritonEndpoint(uri=uri, model_name="m")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("https://a.example", "a.example"),
        ("HTTPS://A.Example:443/score", "a.example"),
        ("https://a.example:0443", "a.example"),
        ("https://a.example:8443/v2", "a.example:8443"),
        ("https://a.example/api/v1/endpoint/e/score", "a.example/api/v1/endpoint/e"),
        ("https://[::0001]:8443", "[::1]:8443"),
        ("http://localhost", "http://localhost:80"),
    ],
)
def test_one_place_has_one_name(uri: str, place: str) -> None:
    """Scheme, host, port and prefix make the place, however they are written."""
    assert str(read_address(uri).place) == place


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "+1", "8 0", "８０", "80:80", "x"])
def test_a_port_is_a_number(port: str) -> None:
    """Ports beyond those that there are, and other digits, are refused."""
    with pytest.raises(ConfigurationError):
        TritonEndpoint(uri=f"https://a.example:{port}", model_name="m")


class Dialled(Exception):
    """Stands for the first step to the network."""


@law
@given(
    st.text(st.sampled_from("aZ0x1.-_%\\@:/[]#?;&=~é。 \t"), max_size=24)
    | st.from_regex(r"[a-zA-Z0-9_.%-]{1,20}(:[0-9]{1,5})?(/[a-z.%]*)?", fullmatch=True)
)
@example("evil.example\\.localhost")
@example("%65vil.example")
@example("[::1]:80")
def test_the_host_that_is_shown_is_the_one_that_is_dialled(text: str) -> None:
    """What is taken at all names one host: to us, to urllib3, and to the socket."""
    try:
        endpoint = TritonEndpoint(uri=f"https://{text}", model_name="m")
    except ConfigurationError:
        return
    place = endpoint.place
    assert urlsplit(endpoint.uri).hostname == place.host
    assert TritonEndpoint(uri=endpoint.uri, model_name="m").uri == endpoint.uri
    dialled: list[Any] = []

    def note(*address: Any) -> Any:
        dialled.append(address)
        raise OSError("dialled")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connect, "addresses_of", note)
        patched.setenv("NO_PROXY", "*")
        with pytest.raises(Exception, match="dialled"):
            connect.route_to(f"{endpoint.model_url}/infer")
    assert dialled == [(place.host, place.port)]


HOSTS = st.from_regex(r"[a-z0-9]{1,3}([.-]{1,3}[a-z0-9]{1,3}){0,3}", fullmatch=True).filter(
    lambda text: normal_host(text) == text
)


@law
@given(HOSTS, HOSTS)
@example("a-b.c", "a.b-c")
@example("a--b", "a.b")
@example("10.0.0.1", "10.0.0-1")
def test_no_two_hosts_share_a_variable(one: str, other: str) -> None:
    """Setting a host's own variable grants that host, and no other with a name of that kind."""
    names = [set(host_key_names(read_address(f"https://{host}").place)) for host in (one, other)]
    assert (one == other) or not names[0] & names[1]


PLACES = st.builds(
    lambda scheme, host, port, prefix: f"{scheme}{host}{port}{prefix}",
    st.sampled_from(["", "https://", "http://"]),
    HOSTS | st.sampled_from(["[::1]", "[2001:db8::2]", "my_service", "10.0.0.1"]),
    st.sampled_from(["", ":443", ":80", ":8443"]),
    st.sampled_from(["", "/api/v1/endpoint/e", "/a~b_c-d.e"]),
)


@law
@given(PLACES, st.sampled_from([None, "entra", "credential", "DIGITS_API_KEY", "_x"]))
def test_a_grant_is_written_as_it_is_read(place: str, secret: str | None) -> None:
    """What is printed to be pasted means what was meant, and covers no other secret."""
    text = place if secret is None else f"{secret}@{place}"
    (grant,) = parse_grants(text, "test")
    assert parse_grants(str(grant), "test") == (grant,)
    assert grant.place is not None
    assert grant.covers(secret, grant.place)
    assert grant.covers(None, grant.place)
    assert not grant.covers("OTHER", grant.place)
    elsewhere = grant.place._replace(port=grant.place.port + 1)
    assert not grant.covers(secret, elsewhere)


@pytest.mark.parametrize(
    "text",
    [
        "VAR@",
        "@host",
        "VAR@host/..",
        "VAR@host/a/../b",
        "VAR@host/$(id)",
        "VAR@host/a%2e%2e",
        "VAR@host\\.localhost",
        "VAR@ftp://host",
        "sk-S3CRET/==@host",
        "VAR@OTHER@host",
        "host:0",
        "**",
        "*@host",
        "VAR@*",
        "VAR@*.example",
    ],
)
def test_what_is_no_grant_is_refused_unseen(text: str) -> None:
    """There are no wildcards, and no way up; what is refused might be a key, so it is not shown."""
    with pytest.raises(ConfigurationError, match="entry 1") as caught:
        parse_grants(text, "the test")
    assert "S3CRET" not in str(caught.value)


def test_grants_come_in_any_list() -> None:
    """Commas, blanks and line ends separate; an empty text grants nothing."""
    text = " A@h.example,h2.example\n, B@[::1]:8443  unix:/run/x.sock ,"
    assert list(map(str, parse_grants(text, "test"))) == [
        "A@h.example",
        "h2.example",
        "B@[::1]:8443",
        "unix:/run/x.sock",
    ]
    assert parse_grants("", "test") == ()
    assert parse_grants("*", "test") == (Grant(None, None),)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("https://a-b.c.example", "HYBRIDMODEL_KEY_a__b_c_example"),
        ("https://10.0.0.1", "HYBRIDMODEL_KEY_10_0_0_1"),
        ("https://a.example:8443", None),
        ("https://a.example/prefix", None),
        ("http://localhost", None),
        ("https://my_service", None),
        ("https://[::1]", None),
        ("https://" + ".".join(["a-" * 28 + "a"] * 4), None),
    ],
)
def test_the_variable_of_a_host(uri: str, name: str | None) -> None:
    """Only https on its own port without a prefix has one, of up to 320 characters."""
    names = host_key_names(read_address(uri).place)
    spelt = () if name is None else (name, name.upper(), f"{name}_2", f"{name.upper()}_2")
    assert names == tuple(dict.fromkeys(spelt))
