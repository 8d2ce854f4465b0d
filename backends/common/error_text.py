"""The text of an error as it can be sent: gRPC puts it into a header, and drops the answer when that is too long."""

from __future__ import annotations

# Four bytes a character, each written as "%F0": 7,200 bytes, and clients take 8,192.
MAX_CHARACTERS = 600


def for_client(text: str) -> str:
    """Return text that any client can receive: valid Unicode, and what is too long is cut in the middle.

    An error says at its start which field it is about and at its end what is allowed; the client's own value, which
    may be as long as a request, stands between them.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= MAX_CHARACTERS:
        return text
    gap = f" … {len(text) - MAX_CHARACTERS:,} characters … "
    kept = MAX_CHARACTERS - len(gap)
    return text[: kept // 2] + gap + text[len(text) - kept // 2 :]
