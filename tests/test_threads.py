"""Work on all cores returns its results in order, runs a few items ahead, and passes its errors to the caller."""

import concurrent.futures
import os
import threading
import time

import numpy as np
import pytest
import threadpoolctl

from keras_linreg.utils import threads

ALL_CORES = pytest.mark.parametrize("cores", [1, 2, 4])


@pytest.fixture
def set_cores(monkeypatch):
    return lambda count: monkeypatch.setattr(threads, "cores", lambda: count)


@ALL_CORES
def test_results_come_in_the_order_of_the_items_however_long_each_takes(cores, set_cores):
    set_cores(cores)

    def slow(item):
        time.sleep(0.004 if item % 3 == 0 else 0.0)
        return item**2

    assert list(threads.in_order(slow, iter(range(40)))) == [item**2 for item in range(40)]


@ALL_CORES
@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_few_items_or_none_give_as_many_results(count, cores, set_cores):
    set_cores(cores)
    assert list(threads.in_order(str, range(count))) == [str(item) for item in range(count)]


@ALL_CORES
def test_only_a_few_items_are_read_ahead(cores, set_cores):
    set_cores(cores)
    started = []

    def items():
        for item in range(200):
            started.append(item)
            yield item

    ahead = []
    for done in threads.in_order(lambda item: item, items()):
        ahead.append(len(started) - done)
    assert max(ahead) <= 2 * cores + 1


@ALL_CORES
def test_as_many_items_as_cores_run_at_once(cores, set_cores):
    set_cores(cores)
    barrier, lock = threading.Barrier(cores, timeout=10), threading.Lock()
    running, most = [], []

    def work(item):
        with lock:
            running.append(item)
            most.append(len(running))
        barrier.wait()  # it breaks if they run one after the other
        with lock:
            running.remove(item)

    list(threads.in_order(work, range(3 * cores)))
    assert max(most) == cores


@ALL_CORES
def test_an_error_of_the_work_reaches_the_caller_in_place_of_its_result(cores, set_cores):
    set_cores(cores)

    def work(item):
        if item == 5:
            raise ZeroDivisionError("row 5")
        return item

    results = []
    with pytest.raises(ZeroDivisionError, match="row 5"):
        for result in threads.in_order(work, range(50)):
            results.append(result)
    assert results == [0, 1, 2, 3, 4]


@ALL_CORES
def test_an_error_of_the_items_reaches_the_caller(cores, set_cores):
    set_cores(cores)

    def items():
        yield from range(30)
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended"):
        list(threads.in_order(lambda item: item, items()))


@ALL_CORES
def test_a_caller_that_stops_early_leaves_no_thread_behind(cores, set_cores):
    set_cores(cores)
    before = threading.active_count()
    results = threads.in_order(lambda item: item, range(100))
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_blas_has_one_thread_inside_and_its_old_number_afterwards():
    np.ones((2, 2)) @ np.ones((2, 2))

    def counts():
        return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]

    before = counts()
    assert before
    with threads.one_blas_thread():
        assert set(counts()) == {1}
        with threads.one_blas_thread():
            assert set(counts()) == {1}
        assert set(counts()) == {1}
    assert counts() == before
    with pytest.raises(ZeroDivisionError), threads.one_blas_thread():
        raise ZeroDivisionError
    assert counts() == before


def test_cores_counts_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert threads.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert threads.cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.cores() == 1


def test_two_callers_at_once_get_their_own_results(set_cores):
    set_cores(2)

    def caller(start):
        return list(threads.in_order(lambda item: item + start, range(100)))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(caller, (0, 1000))
    assert first == list(range(100))
    assert second == list(range(1000, 1100))
