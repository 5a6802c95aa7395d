"""What an S3 failure means for the engine. Owns the table from botocore's errors to verdicts; makes no request."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
    SSOError,
    TokenRetrievalError,
)
from urllib3.exceptions import HTTPError

from curator.errors import (
    ConfigError,
    CuratorError,
    ForbiddenError,
    NotFoundError,
    ReplacedError,
    RetryableError,
    ShardError,
)


class PastTheEndError(ShardError):
    """A range begins at or after the end of the object: there are no bytes, which is an answer and not a fault."""


# every exception that a call of the client or a read of a body may raise
FAILURES = (ClientError, BotoCoreError, HTTPError, OSError)

_BY_CODE: dict[str, type[CuratorError]] = {
    "NoSuchKey": NotFoundError,
    "NoSuchBucket": NotFoundError,
    "NoSuchUpload": NotFoundError,
    "PreconditionFailed": ReplacedError,
    "ConditionalRequestConflict": RetryableError,
    "OperationAborted": RetryableError,
    "SlowDown": RetryableError,
    "Throttling": RetryableError,
    "ThrottlingException": RetryableError,
    "RequestLimitExceeded": RetryableError,
    "BandwidthLimitExceeded": RetryableError,
    "TooManyRequests": RetryableError,
    "RequestTimeout": RetryableError,
    "InternalError": RetryableError,
    "ServiceUnavailable": RetryableError,
    "BadDigest": RetryableError,
    "IncompleteBody": RetryableError,
    # credentials that expire under a run are renewed by boto3's chain before the next attempt
    "ExpiredToken": RetryableError,
    "RequestExpired": RetryableError,
    "InvalidRange": PastTheEndError,
    "PermanentRedirect": ConfigError,
    "AuthorizationHeaderMalformed": ConfigError,
    "IllegalLocationConstraintException": ConfigError,
    "InvalidBucketName": ConfigError,
}
_BY_STATUS: dict[int, type[CuratorError]] = {
    301: ConfigError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    408: RetryableError,
    409: RetryableError,
    412: ReplacedError,
    416: PastTheEndError,
    425: RetryableError,
    429: RetryableError,
}
_WAY_OUT: dict[type[CuratorError], str] = {
    ForbiddenError: "; check the credentials that boto3 finds (profile, environment, role) and the bucket's policy",
    ConfigError: "; check the bucket's name, region and endpoint_url",
}
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)


def verdict(url: str, error: Exception) -> CuratorError:
    """The verdict on ``error``, which one of FAILURES is: by error code, then by HTTP status, then by kind."""
    if isinstance(error, ClientError):
        return _of_answer(url, error)
    if isinstance(error, _NO_CREDENTIALS):
        return ConfigError(
            f"{url}: {error}; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run on a role, "
            "or choose anonymous for a public bucket"
        )
    if isinstance(error, (ParamValidationError, NoRegionError)):
        return ConfigError(f"{url}: {error}")
    if isinstance(error, ReadTimeoutError):
        return RetryableError(f"{url}: silent for longer than read_timeout_s")
    if isinstance(error, (HTTPClientError, EndpointConnectionError, IncompleteReadError, ResponseStreamingError)):
        return RetryableError(f"{url}: {error}")
    return RetryableError(f"{url}: {type(error).__name__}: {error}")


def _of_answer(url: str, error: ClientError) -> CuratorError:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (RetryableError if status >= 500 else ShardError)
    said = answer.get("Message") or "no message"
    return kind(f"{url}: S3 answered {status} {code} to {error.operation_name}: {said}{_WAY_OUT.get(kind, '')}")


def is_unknown_condition(error: Exception | None) -> bool:
    """Whether an endpoint refused a conditional request because it does not know such requests."""
    if not isinstance(error, ClientError):
        return False
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (400, 501)
