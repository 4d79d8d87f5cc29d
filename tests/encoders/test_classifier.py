"""The heads that classifiers keep."""

import pytest
import torch

from curate.encoders.classifier import FILE, load_head, write_head
from curate.errors import DataError

pytestmark = pytest.mark.numeric


def test_a_head_says_after_reading_what_it_said_before(tmp_path):
    torch.manual_seed(0)
    head = torch.nn.Linear(5, 3)
    write_head(tmp_path, head)
    weights, bias = load_head(tmp_path)
    assert weights.shape == (5, 3)
    x = torch.randn(4, 5)
    assert x.double().numpy() @ weights + bias == pytest.approx(head(x).detach().numpy(), abs=1e-6)


def test_an_encoder_without_a_head_keeps_none(tmp_path):
    write_head(tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="cannot load the head in"):
        load_head(tmp_path)


def test_a_damaged_head_is_said(tmp_path):
    write_head(tmp_path, torch.nn.Linear(5, 3))
    (tmp_path / FILE).write_bytes(b"no head")
    with pytest.raises(DataError, match="cannot load the head") as error:
        load_head(tmp_path)
    assert "\n" not in str(error.value)
