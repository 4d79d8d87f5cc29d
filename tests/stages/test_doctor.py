"""What ``curate doctor`` finds wrong with FAISS, on machines that are not this one."""

import pytest
import torch

from curate.inspection import neighbours
from curate.stages import doctor

CPU, GPU, CU12 = "faiss-cpu", "faiss-gpu", "faiss-gpu-cu12"


@pytest.mark.parametrize(
    ("installed", "searchable", "card", "faults"),
    [
        ([CPU], 0, None, []),
        ([GPU], 0, None, []),
        ([CPU], 0, (9, 0), ["on the GPU, and the CPU more: pip uninstall -y faiss-cpu; "]),
        ([GPU], 1, (9, 0), []),
        ([CU12], 1, (8, 9), []),
        ([CU12], 1, (9, 0), ["faiss-gpu-cu12 has no code for this GPU"]),
        ([CU12], 1, (12, 0), ["faiss-gpu-cu12 has no code for this GPU"]),
        ([GPU, CU12], 1, (9, 0), ["each overwrote another: pip uninstall -y faiss-gpu faiss-gpu-"]),
        ([CPU, GPU], 0, None, ["pip uninstall -y faiss-cpu faiss-gpu; pip install 'curate[cpu]'."]),
    ],
)
def test_doctor_says_what_is_wrong_with_faiss(monkeypatch, installed, searchable, card, faults):
    monkeypatch.setattr(doctor, "versions", lambda: dict.fromkeys(["torch", *installed], "1"))
    monkeypatch.setattr(neighbours, "versions", lambda: dict.fromkeys(["torch", *installed], "1"))
    monkeypatch.setattr(neighbours, "gpus", lambda: searchable)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card is not None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: card)
    machine = doctor.doctor()
    missing = machine.missing
    no_code = installed == [CU12] and card >= (9, 0)
    on_card = "faiss-gpu" if searchable and not no_code else "torch"
    assert machine.search == ("faiss-cpu" if card is None else on_card)
    assert len(missing) == len(faults)
    for line, text in zip(missing, faults, strict=True):
        assert text in line
        assert ("curate[gpu]" in line) is (card is not None)
