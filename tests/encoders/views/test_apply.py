import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from curate.encoders import views
from curate.encoders.views import ViewSpec, apply
from curate.encoders.views.draws import Draws, hash64
from curate.errors import UsageError
from curate.runtime import randomness

pytestmark = pytest.mark.numeric

WORDS = torch.from_numpy(np.random.default_rng(1).integers(0, 2**63, 64, dtype=np.int64))
FULL = ViewSpec(
    crop=(0.1, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
    grayscale=0.2, blur=0.5, solarize=0.2, noise=0.05, side=14, shift=0.1, mask=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, (64, 3, 20, 20), np.uint8))


def test_a_view_depends_on_its_sample_alone(images):
    key = randomness.stream(0, "measure")
    whole = apply.augment(images, FULL, key=key, keys=WORDS, view=3)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    mixed = torch.cat(
        [
            apply.augment(images[part], FULL, key=key, keys=WORDS[part], view=3)
            for part in order.split(7)
        ]
    )
    assert torch.allclose(whole[order], mixed, atol=1e-6)
    again = apply.augment(images, FULL, key=key, keys=WORDS, view=3)
    assert torch.equal(whole, again)
    other = apply.augment(images, FULL, key=key, keys=WORDS, view=4)
    assert (whole - other).abs().mean() > 0.05
    assert whole.min() >= 0 and whole.max() <= 1 and whole.dtype == torch.float32


def test_samples_of_a_batch_get_their_own_parameters(images):
    same = images[:1].expand(64, -1, -1, -1)
    shown = apply.augment(same, FULL, key=1, keys=WORDS, view=0)
    assert len({image.numpy().tobytes() for image in shown}) == 64


def test_the_default_view_changes_nothing(images):
    shown = apply.augment(images, ViewSpec(), key=1, keys=WORDS, view=0)
    assert torch.equal(shown, images.float() / 255)


def test_crops_are_torchvisions_on_the_same_boxes(images):
    x = images.float() / 255
    draws = Draws.of(5, WORDS, 0)
    top, left, h, w = apply.crop_boxes(draws, ViewSpec(crop=(0.08, 1.0)), 20, 20)
    flipped = draws.uniform(apply.FLIP, 1)[:, 0] < 0.5
    ours = apply.resized_crop(x, top, left, h, w, flipped)
    for i in range(64):
        box = [int(v[i]) for v in (top, left, h, w)]
        wanted = F.resized_crop(x[i], *box, size=[20, 20], antialias=True)
        wanted = F.horizontal_flip(wanted) if flipped[i] else wanted
        assert torch.allclose(ours[i], wanted, atol=2e-6), box
    assert 0.2 < flipped.float().mean() < 0.8


@pytest.mark.parametrize("side", [6, 13, 20, 31])
def test_crops_of_another_side_are_torchvisions(images, side):
    x = images.float() / 255
    draws = Draws.of(5, WORDS, 0)
    boxes = apply.crop_boxes(draws, ViewSpec(crop=(0.05, 1.0)), 20, 20)
    flipped = draws.uniform(apply.FLIP, 1)[:, 0] < 0.5
    ours = apply.resized_crop(x, *boxes, flipped, side)
    assert ours.shape == (64, 3, side, side)
    for i in range(64):
        box = [int(v[i]) for v in boxes]
        wanted = F.resized_crop(x[i], *box, size=[side, side], antialias=True)
        wanted = F.horizontal_flip(wanted) if flipped[i] else wanted
        assert torch.allclose(ours[i], wanted, atol=2e-6), box


def test_a_side_without_a_crop_resizes_the_whole_image(images):
    x = images.float() / 255
    shown = apply.augment(images, ViewSpec(side=9, flip=1.0), key=1, keys=WORDS, view=0)
    wanted = F.horizontal_flip(F.resize(x, [9, 9], antialias=True))
    assert torch.allclose(shown, wanted, atol=2e-6)
    kept = apply.augment(images, ViewSpec(side=20), key=1, keys=WORDS, view=0)
    assert torch.equal(kept, x)


def test_a_shift_is_a_crop_of_the_padded_image(images):
    x = images.float() / 255
    spec = ViewSpec(shift=0.15)
    shown = apply.augment(images, spec, key=1, keys=WORDS, view=0)
    start = torch.floor(Draws.of(1, WORDS, 0).uniform(apply.SHIFT, 2) * 7).int().tolist()
    assert {v for pair in start for v in pair} == set(range(7))
    for i, (top, left) in enumerate(start):
        assert torch.equal(shown[i], F.crop(F.pad(x[i], [3]), top, left, 20, 20))


@pytest.mark.parametrize(("size", "patch"), [(8, 1), (20, 2), (32, 4)])
def test_a_mask_blackens_the_stated_share_of_patches_and_nothing_else(size, patch):
    white = torch.full((64, 3, size, size), 255, dtype=torch.uint8)
    shown = apply.augment(white, ViewSpec(mask=0.75), key=1, keys=WORDS, view=0)
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    cells = shown.unfold(2, patch, patch).unfold(3, patch, patch).flatten(4)
    assert (cells.amin(4) == cells.amax(4)).all()
    hidden = (cells[:, 0, :, :, 0] == 0).flatten(1)
    assert (hidden.sum(dim=1) == round(0.75 * (size // patch) ** 2)).all()
    assert len({row.numpy().tobytes() for row in hidden}) == 64
    assert (hidden.float().mean(dim=0) - 0.75).abs().max() < 0.25


def test_masks_of_sides_that_patches_do_not_fill_end_at_the_edge():
    white = torch.full((64, 1, 17, 17), 255, dtype=torch.uint8)
    shown = apply.augment(white, ViewSpec(mask=0.5), key=1, keys=WORDS, view=0)
    assert shown.shape == (64, 1, 17, 17) and apply.mask_grid(white) == (2, 9, 9)
    assert 0.3 < shown[:, :, 16].mean() < 0.7


GOLDEN = {
    "simclr": 0.46467,
    "simclr-224": 0.43968,
    "crop-flip": 0.48077,
    "dino": 0.47357,
    "digits": 0.48784,
    "crop": 0.48050,
    "noise": 0.50585,
    "rotate-90": 0.54236,
    "rotate-270": 0.49271,
    "color-drop": 0.50333,
    "color-drop-25": 0.50287,
    "crop-only": 0.50259,
    "crop-resize": 0.47431,
    "masking": 0.10770,
}
"""Mean of one pixel over ``images`` in view 3 of every set."""


def test_views_stay_what_they_were(images):
    # Scores of one recipe are comparable only as long as its views are: a new operation or slot
    # must not move the draws of the others.
    key = randomness.stream(0, "measure")
    assert list(GOLDEN) == list(views.VIEWS)
    for name, value in GOLDEN.items():
        shown = apply.augment(images, views.VIEWS[name], key=key, keys=WORDS, view=3)
        assert shown[:, :, 3, 5].mean().item() == pytest.approx(value, abs=2e-5), name


def test_crop_boxes_are_distributed_as_torchvisions():
    words = torch.from_numpy(np.random.default_rng(3).integers(0, 2**63, 4000, dtype=np.int64))
    boxes = apply.crop_boxes(Draws.of(5, words, 0), ViewSpec(crop=(0.08, 1.0)), 32, 32)
    theirs = RandomResizedCrop(32)
    torch.manual_seed(0)
    drawn = [theirs.make_params([torch.empty(3, 32, 32)]) for _ in range(4000)]
    for ours, name in zip(boxes, ("top", "left", "height", "width"), strict=True):
        values = np.array([d[name] for d in drawn], dtype=float)
        assert ours.mean().item() == pytest.approx(values.mean(), abs=0.6)
        assert ours.std().item() == pytest.approx(values.std(), rel=0.06)


def test_an_impossible_ratio_takes_the_whole_image():
    spec = ViewSpec(crop=(0.9, 1.0), ratio=(8.0, 9.0))
    top, left, h, w = apply.crop_boxes(Draws.of(5, WORDS, 0), spec, 16, 12)
    assert (top == 0).all() and (left == 0).all() and (h == 16).all() and (w == 12).all()


@pytest.mark.parametrize(
    ("which", "theirs"),
    [
        (0, lambda x, u: F.adjust_brightness(x, 0.6 + 0.8 * u)),
        (1, lambda x, u: F.adjust_contrast(x, 0.6 + 0.8 * u)),
        (2, lambda x, u: F.adjust_saturation(x, 0.6 + 0.8 * u)),
        (3, lambda x, u: F.adjust_hue(x, 0.2 * (2 * u - 1))),
    ],
)
def test_colour_changes_are_torchvisions(images, which, theirs):
    x = images.float() / 255
    x[0] = 0.5
    u = torch.rand(64, 4, generator=torch.Generator().manual_seed(1))
    spec = ViewSpec(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    ours = apply.jitter(x, u, spec, (which,))
    for i in range(64):
        wanted = theirs(x[i], u[i, which].item())
        assert torch.allclose(ours[i], wanted, atol=2e-5)


def test_the_order_of_colour_changes_matters_and_varies(images):
    x = images.float() / 255
    u = torch.rand(64, 4, generator=torch.Generator().manual_seed(1))
    spec = ViewSpec(brightness=0.4, contrast=0.4)
    assert not torch.allclose(apply.jitter(x, u, spec, (0, 1)), apply.jitter(x, u, spec, (1, 0)))
    orders = {randomness.stream(7, "order", view) % len(apply.ORDERS) for view in range(200)}
    assert len(orders) == 24


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(views.VIEWS))
def test_a_view_is_the_same_bit_for_bit_where_the_device_alone_knows_its_number(name, channels):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, channels, 12, 12), generator=generator, dtype=torch.uint8)
    keys = torch.arange(6) * 987654321987
    x, spec, table = pixels.float() / 255, views.VIEWS[name], apply.orders(5, 40)
    seen = set()
    for view in range(0, 40, 2):
        told = Draws.of_views(5, hash64(5, keys), view, 2)
        there = Draws.of_views(5, hash64(5, keys), torch.tensor(view), 2, table)
        for known, unknown in zip(told, there, strict=True):
            assert torch.equal(apply.view_of(x, spec, known), apply.view_of(x, spec, unknown))
            seen.add(apply.order_of(known))
            assert apply.order_of(unknown).tolist() == list(apply.order_of(known))
            late = (draws.uniform(1 << 31, 5) for draws in (known, unknown))
            assert torch.equal(*late)
    assert len(seen) > 12


@pytest.mark.parametrize("strengths", [{"hue": 0.2}, {"contrast": 0.4}, {"saturation": 0.3}])
def test_some_changes_alone_are_made_where_the_device_alone_knows_the_order(images, strengths):
    x, u = images.float() / 255, torch.rand(len(images), 4)
    spec = views.ViewSpec(jitter=1.0, **strengths)
    for order in apply.ORDERS:
        there = apply.jitter(x, u, spec, torch.tensor(order))
        assert torch.equal(apply.jitter(x, u, spec, order), there)


def test_grayscale_and_blur_are_torchvisions(images):
    x = images.float() / 255
    assert torch.allclose(apply.grayscale(x), F.rgb_to_grayscale(x, 3), atol=1e-6)
    sigma = torch.linspace(0.1, 2.0, 64)
    ours = apply.blur(x, sigma)
    size = 2 * apply.blur_radius(20) + 1
    for i in range(64):
        wanted = F.gaussian_blur(x[i], [size, size], [sigma[i].item()] * 2)
        assert torch.allclose(ours[i], wanted, atol=2e-6)


def test_greyscale_images_stay_greyscale():
    grey = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    for name in views.VIEWS:
        shown = apply.augment(grey, views.VIEWS[name], key=1, keys=WORDS[:8], view=0)
        assert shown.shape == (8, 1, 8, 8) and torch.isfinite(shown).all()


def test_rotation_is_counter_clockwise(images):
    shown = apply.augment(images, views.VIEWS["rotate-90"], key=1, keys=WORDS, view=0)
    assert torch.equal(shown, F.rotate(images.float() / 255, 90))


def test_spec_replaces_settings_and_refuses_what_it_does_not_know():
    assert views.spec("simclr", {"hue": 0.2}).hue == 0.2
    assert views.spec("simclr", {}).crop == (0.08, 1.0)
    with pytest.raises(UsageError, match="Did you mean 'simclr'"):
        views.spec("simclrr", {})
    with pytest.raises(UsageError, match="Did you mean 'grayscale'"):
        views.spec("simclr", {"greyscale": 1})
    with pytest.raises(UsageError, match=r"views\.crop: .*at most 1\.0"):
        views.spec("simclr", {"crop": [0.5, 1.5]})
