"""A compiled loss is the loss, and one compilation does for a whole training.

What is compiled on a CPU is the same graph of operations; what a card's compiler makes of it, only
a card can tell.
"""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from curate.encoders import compiled, methods
from curate.encoders.compiled import Compiled, measuring_pays, pays, views_pay
from curate.encoders.schedule import Tables
from curate.encoders.views.apply import orders
from tests.encoders.test_captured import by_hand, loop_of

pytestmark = pytest.mark.numeric


@pytest.fixture(autouse=True)
def afresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def ran(method, backend=None):
    """Return the losses of a training, its loss compiled by a backend."""
    loop = loop_of(method, by_hand, channels=3)
    if backend:
        loop.gradients.loss = Compiled(loop.loss, backend)
    loop.run(None)
    return [line["loss"] for line in loop.progress.log]


def steps(method, backend, n, every, **changes):
    """Yield the loss of some of n steps, compiled and not, and how far its gradients are off."""
    loop = loop_of(method, None, channels=3, **{"train.epochs": n, **changes})
    loss = Compiled(loop.loss, backend)
    tables = Tables(loop.steps, orders(loop.key, n * len(loop.specs)), "cpu")
    trained = [p for p in loop.method.parameters() if p.requires_grad]
    for step in range(n):
        tables.step.fill_(step)
        batch = loop.batch(tables.now(), *loop.feed.take(step))
        before = [b.clone() for b in loop.method.buffers()]
        values = []
        for which in (loss, loop.loss)[: 1 + (step % every == 0)]:
            for buffer, value in zip(loop.method.buffers(), before, strict=True):
                buffer.copy_(value)
            value = which(batch)
            gradients = torch.autograd.grad(value, trained, allow_unused=True)
            values.append((value.detach(), [g for g in gradients if g is not None]))
        if len(values) == 2:
            (one, a), (other, b) = values
            largest = max(float(g.abs().max()) for g in b)
            apart = max(float((g - h).abs().max()) for g, h in zip(a, b, strict=True))
            yield float(one), float(other), apart / largest


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_a_hundred_steps_are_compiled_once(method):
    changes = {"train.alignment_lambda": 0.05}
    found = list(steps(method, "aot_eager", 100, 33, **changes))
    # One graph without a break: of the loss at every step, whatever its views and numbers.
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    assert len(found) == 4
    for compiled_loss, plain, apart in found:
        assert compiled_loss == pytest.approx(plain, rel=1e-5, abs=1e-6) and apart < 1e-5


def test_views_of_a_hundred_steps_are_compiled_once():
    loop = loop_of("simclr", None, channels=3, **{"train.epochs": 100})
    tables = Tables(loop.steps, orders(loop.key, 200), "cpu")
    show = Compiled(loop.show, "aot_eager")
    for step in range(100):
        tables.step.fill_(step)
        now, (places, pixels) = tables.now(), loop.feed.take(step)
        given = loop.specs, loop.key, pixels, loop.states[places], now.view, now.orders
        made = show(*given)
        if step % 33 == 0:
            plain = loop.show(*given)
            pairs = zip([*made[0], *made[1]], [*plain[0], *plain[1]], strict=True)
            assert all(float((a - b).abs().max()) < 1e-6 for a, b in pairs)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_a_compiled_step_is_the_step(tmp_path, monkeypatch):
    # torch's own cache takes what was compiled for other instructions for the same.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    found = list(steps("simclr", "inductor", 3, 1))
    assert counters["stats"]["unique_graphs"] == 1
    for compiled_loss, plain, apart in found:
        assert compiled_loss == pytest.approx(plain, rel=1e-5) and 0 < apart < 1e-5


def test_what_cannot_be_compiled_is_trained_as_it_is(caplog):
    def broken(graph, inputs):
        raise RuntimeError("no compiler is here\nat all")

    assert ran("simclr") == ran("simclr", broken)
    (said,) = [record.message for record in caplog.records if record.name == "curate"]
    assert said.startswith("what the card computes is not compiled, and takes longer: ")
    assert "no compiler is here" in said and "at all" not in said


def test_long_trainings_on_a_card_alone_are_compiled():
    for rule, least in ((pays, compiled.SHOWN), (measuring_pays, compiled.SEEN)):
        assert rule(least, "cuda") and not rule(least - 1, "cuda")
        assert not rule(10**12, "cpu")
    assert views_pay(compiled.MANY // 2, 2, "cuda") and not views_pay(compiled.MANY // 2, 1, "cuda")
    assert not views_pay(10**9, 2, "cpu")
