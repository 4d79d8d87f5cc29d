"""One seed gives one result to the last byte, whatever the process did before."""

import numpy as np
import pytest
import torch

from curate.encoders.backbone import Encoder
from curate.errors import DivergedError, MismatchError
from curate.evaluation.config import DepthConfig, SegConfig
from curate.evaluation.dense import measure_dense, measured
from curate.evaluation.dense.base import DenseSet
from tests.scenes import CLASSES, scene

pytest.importorskip(
    "segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed"
)
pytestmark = pytest.mark.numeric

SMALL = {"width": 16, "batch_size": 8, "epochs": 6, "threads": 1}


def set_of(kind, train=24, test=12):
    scenes = [scene(n, width=16, height=16) for n in (*range(train), *range(500, 500 + test))]
    images = np.stack([image.transpose(2, 0, 1) for image, _, _ in scenes])
    masks = np.stack([np.where(mask == 255, np.nan, mask) for _, mask, _ in scenes])
    targets = masks if kind == "seg" else np.stack([metres for _, _, metres in scenes])
    targets = targets.astype(np.float32)
    return DenseSet(
        name=f"{kind}:scenes",
        kind=kind,
        images=images[:train],
        targets=targets[:train],
        test=np.array([f"{n:032x}" for n in range(test)], dtype=np.bytes_),
        test_images=images[train:],
        test_targets=targets[train:],
        keys=np.arange(train, dtype=np.uint64),
        classes=tuple(range(CLASSES)) if kind == "seg" else (),
        made_of="",
    )


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder("convnet", size=16, channels=3).eval()


def test_a_segmentation_learns_and_repeats_itself(encoder):
    data, config = set_of("seg"), SegConfig(lr=0.1, **SMALL | {"epochs": 20})
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    sums = measure_dense(encoder, data, config)
    assert sums["union"].shape == (12, CLASSES)
    torch.rand(7)
    torch.set_num_threads(2)
    again = measure_dense(encoder, data, config)
    assert all(sums[name].tobytes() == again[name].tobytes() for name in sums)
    assert torch.get_num_threads() == 2
    # The encoder that was given is as it was.
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    other = measure_dense(encoder, data, config, seed=1)
    assert any(sums[name].tobytes() != other[name].tobytes() for name in sums)
    ((result, values),) = measured(data, config, sums)
    # To call all of it background would reach a quarter at most.
    assert result.value == pytest.approx(values.mean()) and result.value > 0.4
    assert result.low < result.value < result.high
    assert (result.n_train, result.n_test, result.classes) == (24, 12, CLASSES)


def test_depths_of_rendered_scenes_are_told_better_than_by_a_constant(encoder):
    data = set_of("depth")
    config = DepthConfig(lr=0.05, **SMALL | {"epochs": 10})
    sums = measure_dense(encoder, data, config)
    rmse, relative = measured(data, config, sums)
    constant = float(np.sqrt(np.square(data.test_targets - data.targets.mean()).mean()))
    assert rmse[0].kind == "RMSE" and rmse[0].high < 0.8 * constant
    assert relative[0].kind == "AbsRel" and 0 < relative[0].value < 0.5


def test_images_of_another_size_than_the_encoders_are_refused():
    encoder = Encoder("convnet", size=32, channels=3)
    with pytest.raises(MismatchError, match=r"16 pixels.*takes 32"):
        measure_dense(encoder, set_of("seg", 4, 2), SegConfig())


def test_a_training_that_diverges_says_which_rate_to_lower(encoder):
    with pytest.raises(DivergedError, match=r"probe\.depth\.lr"):
        measure_dense(encoder, set_of("depth", 8, 2), DepthConfig(**SMALL | {"lr": 1e20}))
