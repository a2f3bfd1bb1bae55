"""An error is the same in another process."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from ledger.errors import WrongShape
from ledger.state_chunks import read_prefix
from node.errors import RemoteRejected


@pytest.mark.parametrize(
    "error",
    [
        WrongShape(what="prefix", detail="bits are set"),
        RemoteRejected(code="GateClosed", detail="the gate is closed", values={"period": 3}),
    ],
    ids=lambda error: error.code,
)
def test_an_error_is_the_same_after_a_journey(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.code, str(again), again.values) == (error.code, str(error), error.values)


def test_what_fails_in_a_pool_of_processes_says_so():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(WrongShape, match="depth"):
        pool.submit(read_prefix, "deep", bytes(32)).result()
