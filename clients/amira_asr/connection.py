"""A connection to one server: TLS, the API key, and whose calls they are."""

from __future__ import annotations

from tritonclient.grpc import InferenceServerClientPlugin, Request, aio

from amira_asr.settings import Settings, SettingsError, read_api_key

# Triton asks for it under this name; scripts/serving/interfaces.py has the part behind the prefix.
_API_KEY_HEADER = "triton-grpc-protocol-amira-api-key"
_CLIENT_HEADER = "x-amira-client"


class _Headers(InferenceServerClientPlugin):  # type: ignore[misc]  # tritonclient is not typed
    """Puts headers on every call. A client takes one plugin only."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Request) -> None:
        """Add them."""
        request.headers = {**(request.headers or {}), **self._headers}


def connect(address: str, settings: Settings, channel_args: list[tuple[str, int]]) -> aio.InferenceServerClient:
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
        client = aio.InferenceServerClient(address, ssl=settings.tls == "on", channel_args=channel_args, **given)
    except OSError as error:
        raise SettingsError(f"a file of the TLS settings cannot be read: {error}") from error
    headers = {_API_KEY_HEADER: read_api_key(settings), _CLIENT_HEADER: settings.client_key}
    client.register_plugin(_Headers({name: value for name, value in headers.items() if value}))
    return client
