"""Which addresses are reached without the proxies of the environment."""

from __future__ import annotations

import pytest

from agent.llm.proxy import is_direct, is_loopback


@pytest.mark.parametrize(
    "host",
    (
        "localhost",
        "LOCALHOST:11434",
        "a.localhost",
        "localhost.",
        "127.0.0.1:8000",
        "127.9.8.7",
        "[::1]:1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]:8000",
    ),
)
def test_this_machine(host: str) -> None:
    assert is_loopback(f"http://{host}/v1") and is_direct(f"https://{host}", {})


@pytest.mark.parametrize(
    "host", ["localhost.org", "127.0.0.1.org", "10.0.0.1", "api.openai.com", "128.0.0.1", "[::2]"]
)
def test_another_machine(host: str) -> None:
    assert not is_loopback(f"http://{host}/v1") and not is_direct(f"http://{host}", {"NO_PROXY": "172.16.0.0/12,x"})


@pytest.mark.parametrize("listed", ["10.0.0.0/8", "x.org, 10.1.2.3/32 ", "10.1.2.3"])
def test_networks_of_no_proxy_are_honoured(listed: str) -> None:
    """httpx knows names and single addresses, no networks."""
    assert is_direct("http://10.1.2.3:8000/v1", {"NO_PROXY": listed})
    assert not is_direct("http://11.1.2.3:8000/v1", {"no_proxy": listed})
