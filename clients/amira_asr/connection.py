"""A connection to one server: TLS, the API key, and whose calls they are."""

from __future__ import annotations

from tritonclient.grpc import InferenceServerClientPlugin, Request, aio

from amira_asr.settings import Settings, SettingsError, read_api_key

# Triton asks for it under this name; scripts/serving/interfaces.py has the part behind the prefix.
_API_KEY_HEADER = "triton-grpc-protocol-amira-api-key"
_CLIENT_HEADER = "x-amira-client"
_LARGEST_MESSAGE = 2**31 - 1
_KEEPALIVE_TIMEOUT_MS = 10_000
# gRPC's own waits between connection attempts begin at 1 s and end at 120 s: long for words that somebody waits for.
_RECONNECT_MS = (100, 1000)


class _Headers(InferenceServerClientPlugin):  # type: ignore[misc]  # tritonclient is not typed
    """Puts headers on every call. A client takes one plugin only."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Request) -> None:
        """Add them."""
        request.headers = {**(request.headers or {}), **self._headers}


def connect(address: str, settings: Settings) -> aio.InferenceServerClient:
    """Return a client of the server at host:port; nothing is sent yet. Call it inside a running event loop.

    Raises:
        SettingsError: a certificate or key cannot be read, or there is one without the other; TLS files without TLS.
    """
    files = {
        "root_certificates": settings.tls_root_certificate,
        "certificate_chain": settings.tls_client_certificate,
        "private_key": settings.tls_client_key,
    }
    given = {name: str(file) for name, file in files.items() if file is not None}
    if given and settings.tls == "off":
        raise SettingsError("setting 'tls' is 'off' with certificates for it; it should be 'on'")
    if ("certificate_chain" in given) != ("private_key" in given):
        raise SettingsError("settings 'tls_client_certificate' and 'tls_client_key' should be given together")
    try:
        channel_args = _channel_arguments(settings.keepalive_secs)
        client = aio.InferenceServerClient(address, ssl=settings.tls == "on", channel_args=channel_args, **given)
    except OSError as error:
        raise SettingsError(f"a file of the TLS settings cannot be read: {error}") from error
    headers = {_API_KEY_HEADER: read_api_key(settings), _CLIENT_HEADER: settings.client_key}
    client.register_plugin(_Headers({name: value for name, value in headers.items() if value}))
    return client


def _channel_arguments(keepalive_secs: float) -> list[tuple[str, int]]:
    """Return gRPC's options of a connection.

    Pings keep it alive on its way: proxies and load balancers forget a quiet connection after a minute or more. A
    server hangs up on whoever pings too often or while there is no call, so there are none without a call, and
    `make serve` sets Triton's limit below the least `keepalive_secs`. The timeout is TCP's, too: a connection whose
    other end is gone breaks when what was sent is not acknowledged for so long.
    """
    first, longest = _RECONNECT_MS
    return [
        ("grpc.max_send_message_length", _LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
        ("grpc.keepalive_time_ms", round(keepalive_secs * 1e3)),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", first),
        ("grpc.max_reconnect_backoff_ms", longest),
        ("grpc.dns_min_time_between_resolutions_ms", longest),
        # Two clients in one process share no connection, so that closing one, or its trouble, is its own.
        ("grpc.use_local_subchannel_pool", 1),
    ]
