"""Delivering spans over OTLP/HTTP without ever holding up, or talking into, whoever is traced.

The SDK is imported only where a collector is configured.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.errors import UsageError
from agent.llm.proxy import is_direct

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Export:
    """A tracer provider of our own, a queue, and one exporter. The process's global provider stays as it is."""

    def __init__(
        self,
        endpoint: str,
        environment: Mapping[str, str],
        *,
        timeout_s: float,
        close_s: float,
        say: Callable[[str], None],
    ) -> None:
        parts = urlsplit(endpoint)
        self._where = f"{parts.hostname}{f':{parts.port}' if parts.port else ''}"  # without any password in it
        self._close_s = close_s
        self._say = say
        self._failure = ""
        self._told = False
        self._closed = False
        sdk = _sdk()
        self._kinds = sdk.SpanKind
        self._log = _Listener()
        self._log.attach()
        headers = environment.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environment.get(
            "OTEL_EXPORTER_OTLP_HEADERS"
        )
        session = sdk.Session()
        # Without the environment's proxies, see agent.llm.proxy.
        session.trust_env = not is_direct(endpoint, environment)
        exporter = sdk.OTLPSpanExporter(
            endpoint=endpoint,
            headers=dict(sdk.parse_env_headers(headers or "", liberal=True)),
            timeout=timeout_s,
            session=session,
        )
        name = environment.get("OTEL_SERVICE_NAME") or "roundtable"
        # shutdown_on_exit would join the sending thread for up to 30 s; `close` waits for less.
        self._provider = sdk.TracerProvider(
            resource=sdk.Resource.create({"service.name": name, "openinference.project.name": name}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            sdk.BatchSpanProcessor(
                _Watched(exporter, sdk.SpanExportResult.SUCCESS, self._failed), schedule_delay_millis=1000
            )
        )
        self._tracer = self._provider.get_tracer("roundtable")
        # Waits for the end from now on: since Python 3.12 no thread can be started once the interpreter shuts down.
        self._ending = threading.Event()
        self._last = threading.Thread(target=self._deliver, name="roundtable-traces", daemon=True)
        self._last.start()
        atexit.register(self.close)

    def started(self, name: str, *, client: bool) -> AbstractContextManager[Span]:
        """A span of the SDK's as the current one."""
        self._tell()
        span: AbstractContextManager[Span] = self._tracer.start_as_current_span(
            name,
            kind=self._kinds.CLIENT if client else self._kinds.INTERNAL,
            # The exception's own text and stack would go out as they are.
            record_exception=False,
            set_status_on_exception=False,
        )
        return span

    def close(self) -> None:
        """Deliver what waits, for at most close_s; then go on without."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._ending.set()
        self._last.join(self._close_s)
        if self._last.is_alive():
            self._failed(f"no answer within {self._close_s:g} s at the end")
        else:
            self._log.detach()
        self._tell()

    def _deliver(self) -> None:
        self._ending.wait()
        self._provider.shutdown()

    def _failed(self, reason: str = "") -> None:
        """Called by the sending thread, which may not print into the middle of a line."""
        self._failure = reason or self._log.last or "the collector refused them"

    def _tell(self) -> None:
        if self._failure and not self._told:
            self._told = True
            self._say(
                f"traces could not be delivered to {self._where}: {self._failure} (told once; the study goes on)"
            )


class _Watched:
    """The exporter, with its failures noted. A SpanExporter of the SDK's."""

    def __init__(self, exporter: Any, success: object, failed: Callable[[], None]) -> None:
        self._exporter = exporter
        self._success = success
        self._note = failed

    def export(self, spans: Any) -> Any:
        result = self._exporter.export(spans)
        if result is not self._success:
            self._note()
        return result

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Listener(logging.Handler):
    """Keeps the library's last word, and keeps it off the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = True

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

    def attach(self) -> None:
        self._propagated = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    def detach(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated


def _sdk() -> SimpleNamespace:
    """What is used of OpenTelemetry. Raises UsageError where it is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        from opentelemetry.trace import SpanKind
        from opentelemetry.util.re import parse_env_headers
        from requests import Session
    except ImportError as error:
        raise UsageError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, but {error.name} is not installed: "
            "`./uvw run --extra trace ...` or `pip install 'roundtable[trace]'`, or set OTEL_SDK_DISABLED=true"
        ) from error
    return SimpleNamespace(
        OTLPSpanExporter=OTLPSpanExporter,
        Session=Session,
        Resource=Resource,
        TracerProvider=TracerProvider,
        BatchSpanProcessor=BatchSpanProcessor,
        SpanExportResult=SpanExportResult,
        SpanKind=SpanKind,
        parse_env_headers=parse_env_headers,
    )
