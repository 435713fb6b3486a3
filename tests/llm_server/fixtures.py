"""Pytest fixtures; tests/conftest.py lists this module in `pytest_plugins`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.llm_server.server import LLMServer

#: Beginnings of the variables that reach into the SDKs, their HTTP client or our own choice of a model.
AMBIENT = ("ANTHROPIC_", "OPENAI_", "AZURE_", "DEEPSEEK_", "OPENROUTER_", "GEMINI_", "GOOGLE_", "OLLAMA_", "VLLM_")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def no_ambient_llm(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No key, address, header or proxy of the person who runs the tests has any effect."""
    for name in list(os.environ):
        if name.startswith(AMBIENT) or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    # Each client of an SDK reads all certificates that the machine trusts, 18 ms; loopback needs none.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def llm_server(no_ambient_llm: None) -> Iterator[LLMServer]:
    """A running server, without any answer programmed."""
    with LLMServer() as server:
        yield server
    assert not server.broken, f"the server itself broke: {server.broken!r}"
    assert not server.unexpected, "requests that no test expected"
