"""A real S3 server on loopback for tests: moto over HTTP, made to conform where faults and races need it.

Owns the server and its buckets; knows nothing of Curator.
"""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest

_REFUSAL = b"<Error><Code>%s</Code><Message>%s</Message></Error>"


class ConformingLayer:
    """WSGI layer over moto. It stores no body that arrived short, and looks-then-writes under a lock, as S3 does.

    ``conditions`` plays other endpoints: ``ignore`` drops If-Match and If-None-Match of PUTs, ``refuse`` answers 501.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.conditions: Literal["keep", "ignore", "refuse"] = "keep"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST", "DELETE"):
            return self._app(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        try:
            body = environ["wsgi.input"].read(length)
        except OSError:
            body = b""
        if len(body) < length:
            return self._refuse(start_response, "400 Bad Request", b"IncompleteBody", b"the body ended early")
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["REQUEST_METHOD"] == "PUT" and self.conditions != "keep":
            dropped = [environ.pop(name, None) for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")]
            if self.conditions == "refuse" and any(dropped):
                return self._refuse(start_response, "501 Not Implemented", b"NotImplemented", b"unknown header")
        with self._lock:
            return list(self._app(environ, start_response))

    @staticmethod
    def _refuse(start_response: Callable[..., Any], status: str, code: bytes, message: bytes) -> Iterable[bytes]:
        content = _REFUSAL % (code, message)
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))])
        return [content]


class S3Server:
    """A running server. All servers of one process share moto's state, so take a fresh bucket for each test."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        running = self._server._server
        self.layer = ConformingLayer(running.app)
        running.app = self.layer
        self._client: Any = None

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self) -> Any:
        """A plain boto3 client, to arrange and to inspect what Curator left behind."""
        if self._client is None:
            import boto3

            session = boto3.session.Session()
            self._client = session.client("s3", endpoint_url=self.endpoint_url, region_name="us-east-1")
        return self._client

    def bucket(self, name: str | None = None) -> str:
        """The name of a new, empty bucket."""
        name = name or f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def public_object(self) -> str:
        """The url of an object that needs no credentials."""
        name = self.bucket()
        self.client().put_object(Bucket=name, Key="public", Body=b"open to all", ACL="public-read")
        return f"s3://{name}/public"

    def pending_uploads(self, bucket: str) -> list[str]:
        """Keys of multipart uploads that were begun and neither completed nor aborted."""
        return [upload["Key"] for upload in self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def throwaway_credentials() -> Iterator[None]:
    """An environment in which boto3 finds throw-away credentials, and nothing of the machine it runs on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "test-key-id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A running S3 server, with credentials for it in the environment. Import it into a conftest to use it."""
    with throwaway_credentials():
        server = S3Server()
        yield server
        server.stop()
