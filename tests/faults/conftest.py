"""The S3 server and the proxies that fault tests run on."""

from tests.faults.proxy import make_proxy
from tests.faults.s3_server import s3_server

__all__ = ["make_proxy", "s3_server"]
