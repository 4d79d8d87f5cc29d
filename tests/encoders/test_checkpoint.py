"""States of a training: whole or not there, and put back bit for bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

from curate.encoders import checkpoint
from curate.errors import DataError, ResourceError

pytestmark = pytest.mark.numeric


def network():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 2),
    )
    return net.to(memory_format=torch.channels_last)


def adamw(net):
    return torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def step(net, optimizer):
    optimizer.zero_grad()
    net(torch.rand(5, 3, 4, 4)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("make", [adamw, sgd])
def test_what_is_restored_goes_on_bit_for_bit(tmp_path, make):
    net = network()
    optimizer = make(net)
    for _ in range(3):
        step(net, optimizer)
    checkpoint.store(tmp_path, 3, checkpoint.tensors_of(net, optimizer), {"more": [1.5]})
    step(net, optimizer)
    wanted = checkpoint.tensors_of(net, optimizer)

    torch.rand(7)
    other = network()
    again = make(other)
    facts, tensors = checkpoint.newest(tmp_path)
    assert facts["step"] == 3 and facts["more"] == [1.5]
    checkpoint.restore(other, again, tensors)
    step(other, again)
    found = checkpoint.tensors_of(other, again)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    moments = again.state_dict()["state"][0]
    assert all(m.stride() == net[0].weight.stride() for m in moments.values() if m.ndim == 4)


def test_the_last_two_are_kept_and_a_damaged_one_is_passed_over(tmp_path, caplog):
    for k in (1, 2, 3):
        checkpoint.store(tmp_path, k, {"x": torch.full((3,), float(k))}, {})
    second, third = sorted(tmp_path.glob("*.safetensors"))
    assert [path.name[:10] for path in (second, third)] == ["000000002-", "000000003-"]
    facts = {path.with_suffix(".json") for path in (second, third)}
    assert set(tmp_path.iterdir()) == {second, third, *facts}

    for damage in (lambda data: data[:-1], lambda data: data[:-1] + b"\xff"):
        path = third
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        facts, tensors = checkpoint.newest(tmp_path)
        assert facts["step"] == 2 and tensors["x"].tolist() == [2.0] * 3
        assert "damaged" in caplog.text
        path.write_bytes(whole)
    third.with_suffix(".json").write_text("{")
    assert checkpoint.newest(tmp_path)[0]["step"] == 2
    second.unlink()
    assert checkpoint.newest(tmp_path) is None


def test_two_attempts_at_one_training_store_beside_each_other(tmp_path):
    for k in (1, 2):
        checkpoint.store(tmp_path, 7, {"x": torch.full((3,), float(k))}, {"attempt": k})
    assert len(list(tmp_path.glob("000000007-*.json"))) == 2
    for _ in range(2):
        about, tensors = checkpoint.newest(tmp_path)
        # Whichever it is, facts and tensors are of one attempt.
        assert tensors["x"].tolist() == [float(about["attempt"])] * 3
        newest = max(tmp_path.glob("*.json"))
        newest.unlink()
    assert checkpoint.newest(tmp_path) is None


def test_tensors_without_their_facts_are_no_state(tmp_path):
    checkpoint.store(tmp_path, 1, {"x": torch.zeros(1)}, {})
    checkpoint.write_tensors(tmp_path / "000000002.safetensors", {"x": torch.ones(1)})
    assert checkpoint.newest(tmp_path)[0]["step"] == 1
    assert checkpoint.newest(tmp_path / "nowhere") is None


def test_a_refused_write_is_a_resource_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ResourceError, match="No space left"):
        checkpoint.write_tensors(tmp_path / "w.safetensors", {"x": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_views_of_one_storage_are_written_as_tensors_of_their_own(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    checkpoint.write_tensors(tmp_path / "w.safetensors", {"a": whole[0], "b": whole.T})
    found = load_file(tmp_path / "w.safetensors")
    assert found["a"].tolist() == [0, 1, 2] and found["b"].tolist() == whole.T.tolist()


def test_running_statistics_are_put_back():
    net = network()
    kept = checkpoint.Kept(checkpoint.statistics_of(net))
    net(torch.rand(5, 3, 4, 4))
    kept.keep()
    before = {n: b.clone() for n, b in net.named_buffers() if b.is_floating_point()}
    net(torch.full((5, 3, 4, 4), float("nan")))
    assert net[1].running_mean.isnan().all()
    kept.put_back()
    assert all(torch.equal(b, before[n]) for n, b in net.named_buffers() if n in before)
    checkpoint.Kept([]).put_back()


@pytest.mark.parametrize("good", [True, False])
def test_tensors_are_put_back_bit_for_bit_where_the_device_says_so(good):
    odd = [0.0, -0.0, 1.5, float("nan"), float("inf"), -1e-42]
    before = [torch.tensor(odd), torch.tensor(-2.5), torch.tensor(odd, dtype=torch.float64),
              torch.rand(2, 3, 2, 2).to(memory_format=torch.channels_last),
              torch.tensor(odd).bfloat16(), torch.tensor([7, -1])]  # fmt: skip
    live = [t.clone() for t in before]
    kept = checkpoint.Kept(live)
    for _ in range(2):
        kept.keep()
        after = [t.flip(0) if t.ndim == 1 else t * 3 + 1 for t in live]
        after[3][0, 0, 0, 0] = float("nan")
        for t, value in zip(live, after, strict=True):
            t.copy_(value)
        kept.put_back(unless=torch.tensor(good))
        wanted = after if good else before
        for t, value in zip(live, wanted, strict=True):
            bits = checkpoint.INTEGERS[t.element_size()]
            assert torch.equal(t.view(bits), value.view(bits))
        before = [t.clone() for t in live]


def test_facts_are_json(tmp_path):
    checkpoint.store(tmp_path, 1, {"x": torch.zeros(1)}, {"loss": 0.1 + 0.2})
    (path,) = tmp_path.glob("000000001-*.json")
    assert json.loads(path.read_text())["loss"] == 0.1 + 0.2


def test_the_state_that_another_rank_chose_is_read_or_said_to_be_missing(tmp_path):
    checkpoint.store(tmp_path, 3, {"x": torch.ones(2)}, {"of": "three"})
    checkpoint.store(tmp_path, 4, {"x": torch.zeros(2)}, {"of": "four"})
    about, tensors = checkpoint.stored_at(tmp_path, 3)
    assert about["of"] == "three" and tensors["x"].tolist() == [1, 1]
    with pytest.raises(DataError, match=r"no whole state of step 5.*same run directory"):
        checkpoint.stored_at(tmp_path, 5)
    (weights,) = tmp_path.glob("000000004-*.safetensors")
    weights.write_bytes(b"cut short")
    with pytest.raises(DataError, match="no whole state of step 4"):
        checkpoint.stored_at(tmp_path, 4)
