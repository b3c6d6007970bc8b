"""Getting into a Ray cluster that somebody else started, with a token where it demands one."""

from __future__ import annotations

import os

from ray._raylet import (  # type: ignore[attr-defined]
    AuthenticationTokenLoader,
    Config,
)

from metatune.errors import InputError
from metatune.orchestration.jobs import read_token

_SECONDS = 10.0


def demands_token(host: str, port: int) -> bool:
    """Whether the cluster whose head is at `host` and `port` lets in only who has a token.

    Raises InputError where it does and there is none (see `read_token`), or it refuses that one.
    Without grpcio, or where Ray's TLS is on, this cannot be told, and is taken not to be so.
    """
    if not _refuses(host, port, None):
        return False
    token = read_token()
    if token is None:
        raise InputError(
            f"address {host}:{port}: the cluster demands a token, and there is none: set "
            f"RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or put it into ~/.ray/auth_token"
        )
    if _refuses(host, port, token):
        raise InputError(
            f"address {host}:{port}: the cluster refuses the token; it has another than the one in "
            f"RAY_AUTH_TOKEN, in the file named by RAY_AUTH_TOKEN_PATH, or in ~/.ray/auth_token"
        )
    return True


def read_environment_again() -> None:
    """Have Ray look at the environment, which it has read when it was imported, and at the token,
    which it has read when it first needed one."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _refuses(host: str, port: int, token: str | None) -> bool:
    """Whether the head says that this token, or none, is not the right one."""
    try:
        import grpc  # type: ignore[import-untyped]
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    except ImportError:
        return False
    if os.environ.get("RAY_USE_TLS") == "1":
        return False
    header = () if token is None else (("authorization", f"Bearer {token}"),)
    direct = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{host}:{port}", options=direct) as channel:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        request = gcs_service_pb2.GetClusterIdRequest()
        try:
            head.GetClusterId(request, metadata=header, timeout=_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False
