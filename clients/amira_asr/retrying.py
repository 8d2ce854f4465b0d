"""Which failed calls are tried again, when, and how often."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_any,
    wait_random_exponential,
)
from tenacity.asyncio.retry import retry_if_exception
from tenacity.stop import stop_base

from amira_asr.endpoints import Endpoints
from amira_asr.errors import (
    AmiraError,
    AudioDamaged,
    CircuitOpen,
    DeadlineExceeded,
    InvalidRequest,
    ServerError,
    ServerFull,
)

# Random waits of up to 0.5, 1, 2, 2, … seconds, so that clients that failed together do not come back together.
_FIRST_WAIT_SECS, _MOST_WAIT_SECS = 0.5, 2.0
# What a server asks for comes on top, up to this.
_LONGEST_WAIT_SECS = 15.0


def may_be_damage(error: BaseException) -> bool:
    """Whether a server refused what is not the caller's choice, so that a bit of it may have turned over on its way.

    The library makes the rest of a request, and the checksum covers its audio alone. Refused again, it is no damage.
    """
    return isinstance(error, ServerError) and not isinstance(error, InvalidRequest)


class _StopAfterSending(stop_base):
    """Stops when a request has been sent so often."""

    def __init__(self, sent: Callable[[], int], most: int) -> None:
        self._sent, self._most = sent, most

    def __call__(self, _retry_state: RetryCallState) -> bool:
        return self._sent() >= self._most


def for_calls(endpoints: Endpoints, attempts: int) -> AsyncRetrying:
    """Return the policy of a call: `attempts` tries, and one more for each further endpoint.

    Only errors that may pass are tried again: at once on another endpoint, on the same one after a random wait. One
    that was too slow is not asked again, and nothing is sent where circuits are open. What may be damage is sent once
    more, at once, here as in the policies below.
    """

    async def worthwhile(error: BaseException) -> bool:
        if not isinstance(error, AmiraError) or isinstance(error, CircuitOpen):
            return False
        return error.retryable and (endpoints.fresh or not isinstance(error, DeadlineExceeded))

    return _retrying(endpoints, worthwhile, stop_after_attempt(attempts + len(endpoints) - 1))


def for_streams(endpoints: Endpoints, seconds: float, losses: int) -> AsyncRetrying:
    """Return the policy of a stream that has lost its server: it looks for one to go on with for so many seconds.

    Audio that was damaged again, `losses` times in a row, waits even where a server is ready: a stream that is sent
    again at once meets the same noise, with all of its audio.
    """
    return _retrying(endpoints, _after_a_loss(endpoints), stop_after_delay(seconds), losses)


def for_recordings(endpoints: Endpoints, attempts: int, seconds: float, sent: Callable[[], int]) -> AsyncRetrying:
    """Return the policy of a recording that a server took and did not answer.

    While no server is ready it is waited for, for so many seconds. A recording that ends servers must not end them all:
    no more than `attempts` get it, and one more for each further endpoint.

    Args:
        endpoints: of the client.
        attempts: as said.
        seconds: as said.
        sent: says how many servers got it.
    """
    attempts += len(endpoints) - 1
    waited = stop_all(stop_after_attempt(attempts), stop_after_delay(seconds))
    return _retrying(endpoints, _after_a_loss(endpoints), stop_any(_StopAfterSending(sent, attempts), waited))


def _after_a_loss(endpoints: Endpoints) -> Callable[[BaseException], Awaitable[bool]]:
    """Return what tells whether to go on after an error.

    A server that was too slow is not given more to do while it answers other questions: then the error stands. One that
    answers nothing is frozen or out of reach, and may come back.
    """

    async def worthwhile(error: BaseException) -> bool:
        if not isinstance(error, AmiraError) or not error.retryable:
            return False
        return endpoints.fresh or not isinstance(error, DeadlineExceeded) or not await endpoints.any_ready()

    return worthwhile


def _retrying(
    endpoints: Endpoints, worthwhile: Callable[[BaseException], Awaitable[bool]], stop: stop_base, losses: int = 1
) -> AsyncRetrying:
    refusals = itertools.count(1)
    backoff = wait_random_exponential(multiplier=_FIRST_WAIT_SECS * 2 ** (losses - 1), max=_MOST_WAIT_SECS)

    async def again(error: BaseException) -> bool:
        return next(refusals) == 1 if may_be_damage(error) else await worthwhile(error)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        noisy = losses > 1 and isinstance(error, AudioDamaged)
        if (endpoints.fresh and not noisy) or (error is not None and may_be_damage(error)):
            return 0.0
        asked = error.retry_after_secs if isinstance(error, ServerFull) else 0.0
        # Whom a minute is too long gets the error, which says so, after short waits.
        return backoff(state) + (asked if asked <= _LONGEST_WAIT_SECS else 0.0)

    retry = retry_if_exception(again)
    return AsyncRetrying(retry=retry, stop=stop, wait=wait, sleep=endpoints.pause, reraise=True)
