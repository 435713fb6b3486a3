"""Traces: what a real OTLP exporter delivers to a collector, and that a bad collector costs a round nothing."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import LLMRejected, LLMUnusable, UsageError
from agent.llm.base import Attempt, Message, Reply, Request, Usage
from agent.llm.trace import NullTracer, Tracer, make_tracer

KEY = "sk-very-secret-0123456789"

REQUEST = Request(
    role="autotuner",
    system="You tune model_A.",
    messages=(Message(role="user", text="What next?"),),
    schema={"type": "object"},
    max_tokens=512,
)
REPLY = Reply(
    text='{"lr": 0.1}',
    data={"lr": 0.1},
    usage=Usage(input_tokens=120, cached_tokens=100, output_tokens=30, reasoning_tokens=12),
    provider="gemini",
    model="gemini-9-pro-001",
    stop="end_turn",
    request_id="req_7",
    attempts=(Attempt(error="LLMUnavailable"),),
)
MODEL: Any = SimpleNamespace(
    provider="gemini", model="gemini-9-pro", endpoint=SimpleNamespace(base_url="https://models.example:8443/v1")
)


@dataclass
class Collector:
    """An OTLP/HTTP collector on loopback. answer: what it does with a delivery before it says 200."""

    answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: None
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.bodies.append(body)
                collector.answer(self)
                try:
                    self.send_response(200)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the exporter no longer waits

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def environment(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}"}

    def spans(self) -> dict[str, Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found: dict[str, Any] = {}
        for body in self.bodies:
            message = ExportTraceServiceRequest()
            message.ParseFromString(body)
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    found |= {span.name: span for span in scope.spans}
        return found

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


def attributes(span: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(entry) for entry in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {entry.key: plain(entry.value) for entry in span.attributes}


def a_round(tracer: Tracer) -> None:
    with (
        tracer.span("round 2", attributes={"roundtable.study": "digits"}),
        tracer.span("step propose"),
        tracer.span("invoke_agent autotuner", "agent", {"gen_ai.agent.name": "autotuner"}),
        tracer.chat(MODEL, REQUEST) as chat,
    ):
        chat.reply(REPLY)


def test_a_round_arrives_as_a_tree_with_the_conventions_names(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # not for a collector on this machine
    tracer = make_tracer(collector.environment, said.append)
    a_round(tracer)
    tracer.close()

    spans = collector.spans()
    names = ["round 2", "step propose", "invoke_agent autotuner", "chat gemini-9-pro"]
    assert set(spans) == set(names)
    for parent, child in itertools.pairwise(names):
        assert spans[child].parent_span_id == spans[parent].span_id
    assert len({span.trace_id for span in spans.values()}) == 1
    kinds = [attributes(spans[name])["openinference.span.kind"] for name in names]
    assert kinds == ["CHAIN", "CHAIN", "AGENT", "LLM"]
    assert spans["chat gemini-9-pro"].kind == 3 and spans["step propose"].kind == 1  # client, internal
    assert attributes(spans["round 2"])["roundtable.study"] == "digits"
    assert attributes(spans["invoke_agent autotuner"]) == {
        "openinference.span.kind": "AGENT",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "autotuner",
        "agent.name": "autotuner",
    }
    assert attributes(spans["chat gemini-9-pro"]) == {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-9-pro",
        "gen_ai.request.max_tokens": 512,
        "gen_ai.output.type": "json",
        "gen_ai.agent.name": "autotuner",
        "gen_ai.response.model": "gemini-9-pro-001",
        "gen_ai.response.id": "req_7",
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.reasoning.output_tokens": 12,
        "server.address": "models.example",
        "server.port": 8443,
        "llm.model_name": "gemini-9-pro-001",
        "llm.provider": "gcp.gemini",
        "llm.invocation_parameters": '{"max_tokens": 512}',
        "llm.token_count.prompt": 120,
        "llm.token_count.completion": 30,
        "llm.token_count.total": 150,
        "llm.token_count.prompt_details.cache_read": 100,
        "llm.token_count.completion_details.reasoning": 12,
        "roundtable.prompt_sha256": REQUEST.sha256,
        "roundtable.rung": "text",
        "roundtable.failed_attempts": 1,
    }
    assert said == []


def test_the_names_are_those_of_the_installed_conventions() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the names moved to a repository of their own
        from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names
    from opentelemetry.semconv.attributes import error_attributes, server_attributes

    from agent.llm import trace

    used = {*trace._asked(MODEL, REQUEST), *trace._answered(REPLY), *trace._prompt(REQUEST), *trace._answer(REPLY)}
    known = {value for value in vars(names).values() if isinstance(value, str)}
    assert {name for name in used if name.startswith("gen_ai.")} <= known
    assert (server_attributes.SERVER_ADDRESS, server_attributes.SERVER_PORT) == ("server.address", "server.port")
    assert error_attributes.ERROR_TYPE == "error.type"
    assert set(trace._PROVIDERS.values()) <= {entry.value for entry in names.GenAiProviderNameValues}


@pytest.mark.parametrize("wish", ["", "false", "NO_CONTENT", "event_only"])
def test_texts_stay_here_unless_asked_for(collector: Collector, wish: str) -> None:
    tracer = make_tracer(
        collector.environment | {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": wish}, lambda line: None
    )
    a_round(tracer)
    tracer.close()
    sent = b"".join(collector.bodies)
    assert b"invoke_agent" in sent
    assert b"What next?" not in sent and b"You tune" not in sent and b"0.1}" not in sent


@pytest.mark.parametrize("wish", ["true", "SPAN_ONLY", "span_and_event"])
def test_texts_are_sent_when_asked_for(collector: Collector, wish: str) -> None:
    tracer = make_tracer(
        collector.environment | {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": wish}, lambda line: None
    )
    a_round(tracer)
    tracer.close()
    sent = attributes(collector.spans()["chat gemini-9-pro"])
    text = {"type": "text", "content": "What next?"}
    assert json.loads(sent["gen_ai.input.messages"]) == [{"role": "user", "parts": [text]}]
    assert json.loads(sent["gen_ai.system_instructions"]) == [{"type": "text", "content": "You tune model_A."}]
    (answer,) = json.loads(sent["gen_ai.output.messages"])
    assert answer["parts"][0]["content"] == REPLY.text and answer["finish_reason"] == "end_turn"
    assert sent["llm.input_messages.0.message.role"] == "system"
    assert sent["llm.input_messages.1.message.content"] == "What next?"
    assert sent["llm.output_messages.0.message.content"] == sent["output.value"] == REPLY.text


def test_a_failed_call_is_marked_and_its_tokens_are_counted(collector: Collector) -> None:
    tracer = make_tracer(collector.environment, lambda line: None)
    with pytest.raises(LLMUnusable), tracer.span("step propose"), tracer.chat(MODEL, REQUEST):
        raise LLMUnusable(["no JSON"], reply=REPLY)
    with tracer.chat(SimpleNamespace(provider="custom", model="m"), REQUEST) as span:
        span.error(LLMRejected("401", status=401))
    tracer.close()
    spans = collector.spans()
    failed = attributes(spans["chat gemini-9-pro"])
    assert failed["error.type"] == "LLMUnusable" and failed["gen_ai.usage.output_tokens"] == 30
    assert spans["chat gemini-9-pro"].status.code == 2 and spans["chat gemini-9-pro"].status.message == "no JSON"
    assert attributes(spans["step propose"])["error.type"] == "LLMUnusable"
    rejected = attributes(spans["chat m"])
    assert rejected["http.response.status_code"] == 401 and "server.address" not in rejected


def test_no_key_is_sent_even_with_texts(collector: Collector) -> None:
    environment = collector.environment | {
        "ANTHROPIC_API_KEY": KEY,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=collector-secret-99,authorization=Bearer%20bearer-secret-42",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
    }
    tracer = make_tracer(
        environment, lambda line: None, redact=lambda text: text.replace("from-dotenv-file", "[key]")
    )
    texts = f"{KEY} collector-secret-99 bearer-secret-42 from-dotenv-file"
    request = Request(role="autotuner", system=texts, messages=(Message(role="user", text=texts),))
    with tracer.span(texts, attributes={"list": [texts]}) as span, tracer.chat(MODEL, request) as chat:
        chat.reply(Reply(text=texts, provider="gemini", model=texts, stop=texts))
        chat.error(LLMRejected(texts))
        span.set(other=texts)
    tracer.close()
    sent = b"".join(collector.bodies)
    assert b"[redacted]" in sent and b"[key]" in sent
    for secret in texts.split():
        assert secret.encode() not in sent
    assert collector.headers[0]["api-key"] == "collector-secret-99"
    assert collector.headers[0]["authorization"] == "Bearer bearer-secret-42"


def test_a_dead_collector_is_told_once_and_nothing_is_raised(capfd: pytest.CaptureFixture[str]) -> None:
    gone = Collector()
    environment = gone.environment
    gone.stop()
    said: list[str] = []
    tracer = make_tracer(environment, said.append, timeout_s=0.2, close_s=5.0)
    for _ in range(3):
        a_round(tracer)
    tracer.close()
    tracer.close()
    (line,) = said
    assert line.startswith("traces could not be delivered to 127.0.0.1:") and "the study goes on" in line
    assert capfd.readouterr() == ("", "")


def test_a_refusing_collector_is_told_once() -> None:
    collector = Collector(answer=lambda handler: handler.send_response(403))
    said: list[str] = []
    tracer = make_tracer(collector.environment, said.append, timeout_s=0.5)
    a_round(tracer)
    tracer.close()
    collector.stop()
    (line,) = said
    assert "403" in line


def test_a_slow_collector_holds_nobody_up() -> None:
    free, answered = threading.Event(), []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        free.wait(30)
        answered.append(True)

    collector = Collector(answer=answer)
    said: list[str] = []
    tracer = make_tracer(collector.environment, said.append, timeout_s=60.0, close_s=0.2)
    a_round(tracer)
    tracer.close()
    assert not answered
    (line,) = said
    assert "no answer within 0.2 s" in line
    free.set()
    collector.stop()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_collector_there_is_nothing(environment: dict[str, str]) -> None:
    tracer = make_tracer(environment, lambda line: None)
    assert isinstance(tracer, NullTracer)
    a_round(tracer)
    with pytest.raises(ValueError, match="through"), tracer.span("round 1"):
        raise ValueError("goes through")
    tracer.close()


def test_without_a_collector_nothing_is_imported() -> None:
    program = (
        "import sys\nfrom agent.llm.trace import make_tracer\nt = make_tracer({}, print)\n"
        "with t.span('round 1'): pass\nt.close()\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'requests', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "must be an address like"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://h:4317"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf only"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_TIMEOUT=soon"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}, "at most 60"),
    ],
)
def test_a_collector_that_cannot_be_used_is_refused(extra: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        make_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"} | extra, lambda line: None)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UsageError, match="uvw run --extra trace"):
        make_tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, lambda line: None)


def test_the_address_for_traces_is_taken_as_it_is(collector: Collector) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces",
    }
    tracer = make_tracer(environment, lambda line: None)
    with tracer.span("round 1"):
        pass
    tracer.close()
    assert set(collector.spans()) == {"round 1"}


def test_what_nobody_closed_is_delivered_at_exit(collector: Collector) -> None:
    program = (
        "import os\nfrom agent.llm.trace import make_tracer\nt = make_tracer(os.environ, print)\n"
        "with t.span('round 1'): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=collector.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == done.stderr == ""
    assert set(collector.spans()) == {"round 1"}


def test_an_unknown_kind_is_refused(collector: Collector) -> None:
    tracer = make_tracer(collector.environment, lambda line: None)
    with pytest.raises(ValueError, match="chain, agent, llm"), tracer.span("x", "tool"):
        pass
    tracer.close()
