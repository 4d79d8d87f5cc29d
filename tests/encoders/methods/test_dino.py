import math

import pytest
import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import DINOProjectionHead

from curate.encoders import methods, views
from curate.encoders.backbone import Encoder
from curate.encoders.methods import dino
from curate.encoders.methods.base import Batch
from curate.errors import UsageError

pytestmark = pytest.mark.numeric

SMALL = {"hidden_dim": 32, "bottleneck_dim": 16, "out_dim": 24, "local_views": 3}
BACKBONES = ["vit_micro", "convnet"]


def made(backbone="vit_micro", **settings):
    torch.manual_seed(0)
    encoder = Encoder(backbone, size=8, channels=1)
    return methods.build("dino", encoder, methods.config("dino", SMALL | settings)).train()


def batch(method, seed=0, epoch=0.0, done=0.0):
    """Return noise as views, each of the side that the method asks for, at some time."""
    generator = torch.Generator().manual_seed(seed)
    specs = [method.view(number, views.VIEWS["dino"]) for number in range(method.n_views)]
    sides = [spec.side or 8 for spec in specs]
    shown = [torch.rand(6, 1, side, side, generator=generator) for side in sides]
    return Batch(views=shown, numbers=method.numbers(epoch, done), settled=epoch >= method.settles)


def outputs(v, g, k=11):
    generator = torch.Generator().manual_seed(v)
    student = torch.randn(v, 5, k, generator=generator, dtype=torch.float64)
    teacher = torch.randn(g, 5, k, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randn(k, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n_views", [2, 3, 10])
def test_loss_and_center_are_lightlys(n_views):
    student, teacher, center = outputs(n_views, 2)
    theirs = DINOLoss(output_dim=11, teacher_temp=0.07, student_temp=0.1, center_momentum=0.9)
    theirs.center = center[None, None].clone()
    # Their temperature is a float32 tensor; 1/16 is the same in both precisions.
    wanted = theirs(list(teacher), list(student), teacher_temp=1 / 16)
    ours = dino.dino_loss(
        student, teacher, center, student_temperature=0.1, teacher_temperature=1 / 16
    )
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert torch.allclose(dino.moved_center(center, teacher, 0.9), theirs.center[0, 0])


def test_loss_is_the_papers_equation_by_hand():
    student, teacher, center = outputs(4, 2)
    terms = []
    for g in range(2):
        for v in range(4):
            if v == g:
                continue
            for i in range(5):
                p_t = torch.softmax((teacher[g, i] - center) / 0.05, dim=0)
                p_s = torch.softmax(student[v, i] / 0.1, dim=0)
                terms.append(-(p_t * p_s.log()).sum())
    ours = dino.dino_loss(
        student, teacher, center, student_temperature=0.1, teacher_temperature=0.05
    )
    assert len(terms) == 6 * 5
    assert ours.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-12)


def test_center_moves_by_hand():
    center = torch.tensor([1.0, 0.0], dtype=torch.float64)
    seen = torch.tensor([[[3.0, 1.0], [5.0, 1.0]], [[1.0, 5.0], [3.0, 5.0]]], dtype=torch.float64)
    assert torch.allclose(dino.moved_center(center, seen, 0.9), center * 0.9 + 0.3)


def test_gradients_are_right_and_stop_at_the_teacher():
    student, teacher, center = (t.requires_grad_() for t in outputs(3, 2, k=4))

    def loss(student):
        return dino.dino_loss(
            student, teacher, center, student_temperature=0.1, teacher_temperature=0.06
        )

    assert torch.autograd.gradcheck(loss, (student,))
    loss(student).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None and center.grad is None


def test_teacher_temperature_is_a_line_then_a_constant():
    config = methods.config("dino", {})
    found = [dino.teacher_temperature(epoch, config) for epoch in (0, 10, 15, 30, 31, 500)]
    assert found == pytest.approx([0.04, 0.05, 0.055, 0.07, 0.07, 0.07])
    still = methods.config("dino", {"teacher_temperature_epochs": 0})
    assert dino.teacher_temperature(0, still) == 0.07


def test_teacher_momentum_is_half_a_cosine_up_to_1():
    found = [dino.teacher_momentum(done, 0.996) for done in (0, 1 / 3, 0.5, 1)]
    assert found == pytest.approx([0.996, 0.997, 0.998, 1.0], abs=1e-12)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_step_moves_the_teacher_and_the_center_by_hand(backbone):
    method = made(backbone, teacher_momentum=0.8, batch_norm=True)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.5)
    shown = batch(method, epoch=2.0, done=0.5)
    method(shown).backward()
    optimizer.step()
    before = [p.clone() for p in [*method.teacher.parameters(), *method.teacher_head.parameters()]]
    with torch.no_grad():
        large = torch.cat(shown.views[:2])
        tokens = method.teacher.forward_float(large)
        seen = tokens[:, 0] if backbone == "vit_micro" else tokens.mean(dim=1)
        taught = method.teacher_head(seen)
    method.after_step(shown)
    student = [*method.encoder.parameters(), *method.head.parameters()]
    after = [*method.teacher.parameters(), *method.teacher_head.parameters()]
    moved = 0
    for t_before, s, t in zip(before, student, after, strict=True):
        # Half-way through, the momentum is half-way from 0.8 to 1.
        assert torch.allclose(t, 0.9 * t_before + 0.1 * s, atol=1e-6)
        moved += not torch.equal(t, t_before)
    assert moved > len(after) / 2
    assert torch.allclose(method.center, 0.1 * taught.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_step_reaches_every_weight_of_the_student_and_none_of_the_teacher(backbone):
    method = made(backbone)
    method(batch(method, epoch=1.0)).backward()
    student = [*method.encoder.named_parameters(), *method.head.named_parameters()]
    assert [name for name, p in student if p.grad is None] == []
    teacher = [*method.teacher.parameters(), *method.teacher_head.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in teacher)
    assert len(student) == len(teacher)


def test_the_last_layer_is_frozen_at_first():
    method = made(freeze_last_epochs=1.5)
    method(batch(method, epoch=1.4)).backward()
    idle = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == ["head.last.weight"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_same_bits_twice_and_others_for_other_views(backbone):
    losses = []
    for seed in (0, 0, 1):
        method = made(backbone)
        losses.append(method(batch(method, seed)).item())
    assert losses[0] == losses[1] != losses[2]
    assert math.isfinite(losses[0])


def test_a_teacher_keeps_running_statistics_of_its_own():
    method = made("convnet")
    shown = batch(method)
    method(shown)
    method.after_step(shown)
    own, students = method.teacher.net[1].running_mean, method.encoder.net[1].running_mean
    assert own.abs().sum() > 0
    # The student's batches hold local views as well.
    assert not torch.equal(own, students)


def test_loss_without_local_views_is_that_of_two():
    method = made("vit_micro", local_views=0)
    assert method.n_views == 2
    shown = batch(method)
    loss = method(shown).item()
    outputs = method.head(method.encoder.forward_float(torch.cat(shown.views))[:, 0]).chunk(2)
    # At the start the teacher is the student, and the center is 0.
    p_t = [torch.softmax(o / 0.04, dim=1) for o in outputs]
    log_p_s = [torch.log_softmax(o / 0.1, dim=1) for o in outputs]
    wanted = [-(p_t[a] * log_p_s[1 - a]).sum(dim=1).mean().item() for a in (0, 1)]
    assert loss == pytest.approx(sum(wanted) / 2, rel=1e-5)


def test_views_are_two_large_ones_and_small_ones():
    method = made("vit_micro")
    spec = views.VIEWS["dino"]
    first, second, *local = (method.view(number, spec) for number in range(method.n_views))
    assert first == spec and (spec.blur, spec.solarize, spec.crop) == (1.0, 0.0, (0.4, 1.0))
    assert second == spec.model_copy(update={"blur": 0.1, "solarize": 0.2})
    wanted = spec.model_copy(update={"crop": (0.05, 0.4), "side": 4, "blur": 0.5})
    assert local == [wanted] * 3
    assert views.spec("dino", local[0].model_dump()) == local[0]


@pytest.mark.parametrize(
    ("backbone", "size", "patch", "side"),
    [
        ("vit_micro", 8, 2, 4),
        ("vit_micro", 32, 4, 12),
        ("vit_micro", 224, 16, 96),
        ("convnet", 8, None, 3),
        ("convnet", 224, None, 96),
    ],
)
def test_local_views_have_the_papers_share_of_the_side(backbone, size, patch, side):
    encoder = Encoder(backbone, size=size, channels=1, patch=patch)
    method = methods.build("dino", encoder, methods.config("dino", SMALL))
    assert method.local_side == side
    method = methods.build("dino", encoder, methods.config("dino", SMALL | {"local_side": size}))
    assert method.local_side == size


def test_kept_is_the_teacher_or_the_student():
    for keep in ("teacher", "student"):
        method = made(keep=keep)
        assert method.kept is (method.teacher if keep == "teacher" else method.encoder)
    start, teacher = method.encoder.state_dict(), method.teacher.state_dict()
    assert start.keys() == teacher.keys()
    assert all(torch.equal(start[name], teacher[name]) for name in start)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("batch_norm", [False, True])
def test_head_is_lightlys(batch_norm):
    torch.manual_seed(0)
    config = methods.config("dino", SMALL | {"batch_norm": batch_norm})
    ours = dino.Head(10, config)
    theirs = DINOProjectionHead(10, 32, 16, 24, batch_norm=batch_norm)
    own = [layer for layer in ours.layers if list(layer.parameters())]
    other = [layer for layer in theirs.layers if list(layer.parameters())]
    for mine, layer in zip(own, other, strict=True):
        layer.weight.data.copy_(mine.weight)
        if layer.bias is not None:
            layer.bias.data.copy_(mine.bias)
    theirs.last_layer.weight_v.data.copy_(ours.last.weight)
    x = torch.randn(7, 10)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_the_center_is_part_of_a_state():
    assert "center" in made().state_dict()


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"local_side 3 is not a multiple .*local_side.: 2"):
        made("vit_micro", local_side=3)
    with pytest.raises(UsageError, match="expected two shares"):
        made(local_crop=[0.5, 0.2])
    with pytest.raises(UsageError, match=r"encoder\.keep"):
        made(keep="both")
    with pytest.raises(UsageError, match="Did you mean 'out_dim'"):
        made(out_dims=4)
