"""Which failed calls are tried again, when, and how often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, stop_after_delay, wait_random_exponential
from tenacity.asyncio.retry import retry_if_exception
from tenacity.stop import stop_base

from amira_asr.endpoints import Endpoints
from amira_asr.errors import AmiraError, CircuitOpen, DeadlineExceeded, ServerFull

# Random waits of up to 0.5, 1, 2, 2, … seconds, so that clients that failed together do not come back together.
_LONGEST_WAIT_SECS = 15.0
_backoff = wait_random_exponential(multiplier=0.5, max=2.0)


def for_calls(endpoints: Endpoints, attempts: int) -> AsyncRetrying:
    """Return the policy of a call: `attempts` tries, and one more for each further endpoint.

    Only errors that may pass are tried again: at once on another endpoint, on the same one after a random wait. One
    that was too slow is not asked again, and nothing is sent where circuits are open.
    """

    async def worthwhile(error: BaseException) -> bool:
        if not isinstance(error, AmiraError) or isinstance(error, CircuitOpen):
            return False
        return error.retryable and (endpoints.fresh or not isinstance(error, DeadlineExceeded))

    return _retrying(endpoints, worthwhile, stop_after_attempt(attempts + len(endpoints) - 1))


def for_streams(endpoints: Endpoints, seconds: float) -> AsyncRetrying:
    """Return the policy of a stream that has lost its server: it looks for one to go on with for so many seconds.

    A server that was too slow is not given more to do while it answers other questions: then the error stands. One that
    answers nothing is frozen or out of reach, and may come back.
    """

    async def worthwhile(error: BaseException) -> bool:
        if not isinstance(error, AmiraError) or not error.retryable:
            return False
        return endpoints.fresh or not isinstance(error, DeadlineExceeded) or not await endpoints.any_ready()

    return _retrying(endpoints, worthwhile, stop_after_delay(seconds))


def _retrying(
    endpoints: Endpoints, worthwhile: Callable[[BaseException], Awaitable[bool]], stop: stop_base
) -> AsyncRetrying:
    def wait(state: RetryCallState) -> float:
        if endpoints.fresh:
            return 0.0
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_secs if isinstance(error, ServerFull) else 0.0
        # Whom a minute is too long gets the error, which says so, after short waits.
        return _backoff(state) + (asked if asked <= _LONGEST_WAIT_SECS else 0.0)

    return AsyncRetrying(retry=retry_if_exception(worthwhile), stop=stop, wait=wait, reraise=True)
