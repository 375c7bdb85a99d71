"""Which failures of a step are tried again, and how often.

Lives here: the one list of what may pass by itself, and the decorator that every asset's function wears. Not here:
services that fail (they are asked within limits of their own, and an unanswered question fails no step), runs whose
process died (`dagster.yaml`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg
import psycopg

from cowrie_assets.warehouse.database import WarehouseUnreachable

P = ParamSpec("P")
R = TypeVar("R")

# The warehouse is away, restarts, or ends one of two transactions that wait for each other.
TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, WarehouseUnreachable)
# Three more tries, after 5, 10 and 20 seconds: a database restarts within that.
TRIES = 3
FIRST_WAIT = 5.0
# Run-level retries know no difference. A permanent failure was once retried 5,363 times in six days (a 405, elsewhere).
NEVER_AGAIN = {"dagster/retry_on_asset_or_op_failure": "false"}


def patient(function: Callable[P, R]) -> Callable[P, R]:
    """Try a step again if what failed may pass by itself, with growing waits; anything else fails it at once, and its
    run for good."""
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def yielding(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            with _patience():
                yield from function(*args, **kwargs)

        return cast("Callable[P, R]", yielding)

    @wraps(function)
    def returning(*args: P.args, **kwargs: P.kwargs) -> R:
        with _patience():
            return function(*args, **kwargs)

    return returning


@contextmanager
def _patience() -> Iterator[None]:
    try:
        yield
    except (dg.RetryRequested, GeneratorExit):
        raise
    except TRANSIENT as error:
        wait = FIRST_WAIT * 2 ** dg.OpExecutionContext.get().retry_number
        raise dg.RetryRequested(max_retries=TRIES, seconds_to_wait=wait) from error
    except Exception:
        context = dg.OpExecutionContext.get()
        context.instance.add_run_tags(context.run.run_id, NEVER_AGAIN)
        raise
