"""Pretrained networks of timm: found by name, or refused in a line."""

import pytest

from curate.encoders.pretrained import pretrained
from curate.errors import ResourceError


def test_weights_that_cannot_be_had_are_a_clear_error(monkeypatch):
    import timm

    def refuse(*_, **__):
        raise OSError("no route to host. Try later.")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ResourceError, match=r"cannot be had \(no route to host\)"):
        pretrained("resnet18")
