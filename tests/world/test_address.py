"""Where an outbound call may lead, judged by URL, address and the operator's list."""

from ipaddress import ip_address

import pytest

from engine.world.address import AllowList, Reach, parse_target, reach_of


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", Reach.PUBLIC),
        ("2606:4700::6810:84e5", Reach.PUBLIC),
        ("64:ff9b::5db8:d822", Reach.PUBLIC),  # NAT64 of 93.184.216.34
        ("127.0.0.1", Reach.INTERNAL),
        ("127.255.255.254", Reach.INTERNAL),
        ("10.0.0.1", Reach.INTERNAL),
        ("172.31.255.255", Reach.INTERNAL),
        ("172.32.0.0", Reach.PUBLIC),
        ("192.168.1.1", Reach.INTERNAL),
        ("100.64.0.1", Reach.INTERNAL),
        ("::1", Reach.INTERNAL),
        ("fc00::1", Reach.INTERNAL),
        ("::ffff:127.0.0.1", Reach.INTERNAL),
        ("::ffff:7f00:1", Reach.INTERNAL),
        ("64:ff9b::7f00:1", Reach.INTERNAL),
        ("2002:7f00:1::", Reach.INTERNAL),
        ("2002:a00:1::1", Reach.INTERNAL),
        ("169.254.169.254", Reach.GUARDED),
        ("::ffff:169.254.169.254", Reach.GUARDED),
        ("64:ff9b::a9fe:a9fe", Reach.GUARDED),
        ("2002:a9fe:a9fe::", Reach.GUARDED),
        ("fe80::1", Reach.GUARDED),
        ("fe80::1%1", Reach.GUARDED),
        ("fd00:ec2::254", Reach.GUARDED),
        ("100.100.100.200", Reach.GUARDED),
        ("0.0.0.0", Reach.NEVER),
        ("0.1.2.3", Reach.NEVER),
        ("224.0.0.1", Reach.NEVER),
        ("255.255.255.255", Reach.NEVER),
        ("::", Reach.NEVER),
        ("::7f00:1", Reach.NEVER),  # IPv4-compatible, withdrawn
        ("64:ff9b:1::7f00:1", Reach.NEVER),
        ("ff02::1", Reach.NEVER),
        ("2001::1", Reach.NEVER),  # Teredo
        ("2001:db8::1", Reach.NEVER),
        ("fec0::1", Reach.NEVER),
    ],
)
def test_what_an_address_leads_to(address: str, reach: Reach) -> None:
    assert reach_of(ip_address(address)) is reach


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/a b",
        "https://hooks.example.com/a\r\nx: y",
        "https://hooks.example.com/\t",
        "https://hooks.example.com/\x00",
        " https://hooks.example.com/",
        "https://hooks.example.com\\@evil.test/",
        "https://hooks.exämple.com/",
        "https://①②⑦.0.0.1/",
        "https://user@hooks.example.com/",
        "https://user:pass@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com/#",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:/",
        "https://hooks.example.com:65536/",
        "https://hooks.example.com:8x/",
        "https:///path",
        "https://",
        "https:hooks.example.com",
        "https:/hooks.example.com",
        "hooks.example.com",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://127.0.0.0x1/",
        "https://127.0.0.256/",
        "https://hooks.example.0x/",
        "https://%31%32%37.0.0.1/",
        "https://hooks..example.com/",
        "https://-hooks.example.com/",
        "https://hooks.example.com./",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[::g]/",
        "https://[127.0.0.1]/",
        "https://h/" + "a" * 9000,
    ],
)
def test_a_url_that_parsers_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_target(url)
    assert url not in str(refusal.value)


def test_a_plain_url_is_taken_as_it_stands() -> None:
    target = parse_target("https://Hooks.Example.com:8443/services/T0/%20x?a=1&b=%0A")
    assert str(target.origin) == "https://hooks.example.com:8443"
    assert target.path == b"/services/T0/%20x?a=1&b=%0A"
    assert target.literal is None
    assert parse_target("https://h.test?q").path == b"/?q"


def test_a_literal_address_is_known_as_one() -> None:
    assert parse_target("http://[::1]:9/").literal == ip_address("::1")
    assert parse_target("http://127.0.0.1/").literal == ip_address("127.0.0.1")
    assert parse_target("http://[::ffff:127.0.0.1]/").literal == ip_address("127.0.0.1")


def admitted(entry: str, host: str, port: int, address: str) -> bool:
    return AllowList.parse([entry]).admits(host, port, ip_address(address))


def test_a_listed_name_may_be_internal_on_its_port_alone() -> None:
    assert admitted("hooks.corp:8443", "hooks.corp", 8443, "10.1.2.3")
    assert admitted("Hooks.Corp", "hooks.corp", 1, "10.1.2.3")
    assert not admitted("hooks.corp:8443", "hooks.corp", 443, "10.1.2.3")
    assert not admitted("hooks.corp", "x.hooks.corp", 443, "10.1.2.3")


def test_a_listed_network_admits_its_addresses_however_they_are_written() -> None:
    assert admitted("10.0.0.0/8", "any.test", 443, "10.1.2.3")
    assert admitted("10.0.0.0/8", "any.test", 443, "::ffff:10.1.2.3")
    assert not admitted("10.0.0.0/8", "any.test", 443, "192.168.0.1")
    assert admitted("[::1]:90", "any.test", 90, "::1")
    assert not admitted("[::1]:90", "any.test", 91, "::1")
    assert admitted("::1", "any.test", 91, "::1")


def test_a_listed_name_does_not_open_the_metadata_address_but_its_address_does() -> None:
    assert not admitted("hooks.corp", "hooks.corp", 80, "169.254.169.254")
    assert admitted("169.254.169.254", "169.254.169.254", 80, "169.254.169.254")


def test_what_is_no_address_of_a_server_is_admitted_by_no_list() -> None:
    assert not admitted("0.0.0.0/0", "any.test", 80, "0.0.0.0")
    assert not admitted("224.0.0.0/4", "any.test", 80, "224.0.0.1")


def test_plain_http_needs_the_host_of_the_url_in_the_list() -> None:
    allow = AllowList.parse(["hooks.corp:80", "10.0.0.0/8"])
    assert allow.admits_plain(parse_target("http://hooks.corp/"))
    assert allow.admits_plain(parse_target("http://10.1.2.3/"))
    assert not allow.admits_plain(parse_target("http://hooks.corp:81/"))
    assert not allow.admits_plain(parse_target("http://other.corp/"))


@pytest.mark.parametrize(
    "entry", ["", "10.0.0.1/8", "*.corp", "https://hooks.corp", "hooks.corp/x", "h:", "h:99999", "a b"]
)
def test_an_entry_that_is_neither_host_nor_network_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        AllowList.parse([entry])
