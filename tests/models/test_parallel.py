"""Parts next to one another: in order, one thread each, the same bits by any number of workers."""

import subprocess
import sys
import threading

import pytest
import torch

from xearthformer.models.earthformer.earthformer import PRESETS, Earthformer
from xearthformer.models.earthformer.fused import fuse
from xearthformer.models.layers import parallel
from xearthformer.models.layers.parallel import each, one_thread
from xearthformer.models.nowcast.nowcast import PRESETS as NOWCASTS
from xearthformer.models.nowcast.nowcast import Nowcast
from xearthformer.models.prediff.prediff import PRESETS as LATENTS
from xearthformer.models.prediff.prediff import PreDiff

WORKERS = 1, 2, 4, 8


@pytest.fixture
def with_workers(monkeypatch):
    """Another pool, of so many threads."""

    def use(count):
        monkeypatch.setattr(parallel, "workers", lambda: count)
        monkeypatch.setattr(parallel, "_pool", parallel._Pool())

    return use


@pytest.mark.parametrize("count", WORKERS)
def test_results_are_in_the_order_of_the_parts(with_workers, count):
    with_workers(count)
    assert each(lambda n: n * n, range(20)) == [n * n for n in range(20)]
    assert each(str, []) == [] and each(str, iter([3])) == ["3"]


def test_parts_run_at_the_same_time(with_workers):
    """Two that wait for each other both arrive; one after another they never would."""
    with_workers(2)
    both = threading.Barrier(2, timeout=30)
    assert sorted(each(lambda _: both.wait(), range(2))) == [0, 1]


def test_parts_of_a_part_alone_run_at_the_same_time_and_those_of_others_do_not(with_workers):
    with_workers(2)
    both = threading.Barrier(2, timeout=30)
    assert each(lambda _: sorted(each(lambda _: both.wait(), range(2))), [0]) == [[0, 1]]
    threads = each(lambda _: {*each(lambda _: threading.get_ident(), range(4))}, range(2))
    assert all(len(one) == 1 for one in threads)


def test_an_error_of_a_part_is_raised(with_workers):
    with_workers(2)
    with pytest.raises(ZeroDivisionError):
        each(lambda n: 1 / n, range(-2, 3))


def test_each_part_has_one_thread_of_torchs_and_others_keep_theirs(with_workers):
    with_workers(2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for parts in (range(4), range(1)):
            assert {*each(lambda _: torch.get_num_threads(), parts)} == {1}
        found = [torch.get_num_threads()]
        other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert found == [3, 3]
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_gradients_and_autocast_are_on_as_they_are_here(with_workers):
    with_workers(2)

    def state(_):
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")

    with torch.no_grad():
        assert {*each(state, range(4))} == {(False, False)}
    with torch.autocast("cpu", torch.bfloat16):
        assert {*each(state, range(4))} == {(True, True)}
        ones = torch.ones(8, 8)
        assert {y.dtype for y in each(lambda _: ones @ ones, range(2))} == {torch.bfloat16}


FORKED = """
import multiprocessing, torch
from xearthformer.models.layers import parallel

parallel.workers = lambda: 2

ones = torch.ones(300, 300)

def work(n):
    return sum(parallel.each(lambda _: float(ones.mm(ones).sum()), range(n)))

before = work(4)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, [4, 4]) == [before, before]
print("done")
"""


def test_a_forked_process_has_threads_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "done\n", done.stderr


def frames(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def fused(x_BTHWC):
    return fuse(Earthformer(PRESETS["tiny"]).eval()).predict(x_BTHWC)


def nowcast(x_BTHWC):
    return Nowcast(NOWCASTS["tiny"]).eval().predict((3 * x_BTHWC - 1.5).clamp(min=0))


def members(x_BTHWC):
    model = Nowcast(NOWCASTS["tiny"]).eval()
    past = model.past((3 * x_BTHWC - 1.5).clamp(min=0))
    return model.draw(past, [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)])


def latents(x_BTHWC):
    model = PreDiff(LATENTS["tiny"]).eval()
    return model.predict(x_BTHWC[:, :3], torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("predict", "shape"),
    [
        (fused, (3, 4, 8, 8, 1)),
        (nowcast, (1, 4, 72, 80, 1)),
        (members, (1, 4, 72, 80, 1)),
        (latents, (1, 4, 40, 60, 1)),
    ],
)
def test_bits_are_the_same_by_any_number_of_workers(with_workers, predict, shape):
    x_BTHWC, found = frames(*shape), []
    for count in WORKERS:
        with_workers(count)
        torch.manual_seed(0)
        with torch.no_grad(), one_thread():
            found.append(predict(x_BTHWC))
    assert all(torch.equal(y_BTHWC, found[0]) for y_BTHWC in found[1:])
    assert found[0].std() > 0
