"""The figures are quoted exactly: the list below was typed from the paper, not from the data."""

import re
from pathlib import Path

import pytest

from curate.errors import UsageError
from curate.reports.paper import table_of, tables
from curate.reports.quantities import QUANTITIES, SETTINGS, TAU
from curate.runs.recipe_files import packaged, read

M, A = "SSLMem", "linear accuracy (%)"
PROBES = ("accuracy on CIFAR10 (%)", "accuracy on CIFAR100 (%)", "accuracy on STL10 (%)")
FINE = ("accuracy on ImageNet (%)", "accuracy on Food-101 (%)", "accuracy on Flower102 (%)")
TRAINING = ("epochs", "warm-up epochs", "batch", "optimizer", "learning rate", "schedule")
PAPER = {
    "1": ((M,), """CIFAR10, MAE, ViT: 0.307
        CIFAR10, DINO, ViT: 0.334
        CIFAR10, DINO, ResNet-50: 0.327
        CIFAR10, SimCLR, ResNet-50: 0.339
        SVHN, MAE, ViT: 0.311
        SVHN, DINO, ViT: 0.356
        SVHN, DINO, ResNet-50: 0.350
        SVHN, SimCLR, ResNet-50: 0.357
        STL10, MAE, ViT: 0.284
        STL10, DINO, ViT: 0.321
        STL10, DINO, ResNet-50: 0.319
        STL10, SimCLR, ResNet-50: 0.321
        ImageNet, MAE, ViT: 0.271
        ImageNet, DINO, ViT: 0.309
        ImageNet, DINO, ResNet-50: 0.311
        ImageNet, SimCLR, ResNet-50: 0.301"""),
    "1 accuracy": ((A,), """CIFAR10, MAE, ViT: 67.4
        CIFAR10, DINO, ViT: 76.1
        CIFAR10, DINO, ResNet-50: 75.4
        CIFAR10, SimCLR, ResNet-50: 77.1"""),
    "2": (("t",), "C>S: 86.8\nC>E: 60.4\nS>I: 85.5\nE>I: 113.6"),
    "3": (("mIoU",), """none removed: 45.4
        10k memorized removed: 44.8
        10k random removed: 45.1
        20k memorized removed: 43.8
        20k random removed: 44.4"""),
    "4": (("Déjà Vu (%)",), "CIFAR10, MAE: 27.4\nCIFAR10, DINO: 25.5\nCIFAR10, VICReg: 25.2"),
    "4 SSLMem": ((M,), "CIFAR10, VICReg: 0.334\nImageNet, VICReg: 0.311"),
    "5": ((M, A), "eps inf: 0.307/69.4\neps 20: 0.182/54.2\neps 8: 0.107/33.7"),
    "6": (TRAINING, """MAE: 300/600|30/60|2048|AdamW|1.2e-3|cosine
        SimCLR: 300/600|30/60|4096|LARS|4.8|cosine
        DINO: 300/600|30/60|1024|AdamW|2e-3|cosine
        VICReg: 300/600|30/60|256|SGD|3e-3|cosine
        linear probe: 45/90|5/10|4096|LARS|1.6 (SimCLR 4.8)|cosine"""),
    "7": ((M,), "70 %: 0.325\n80 %: 0.339\n85 %: 0.337"),
    "8": ((M,), """original: 0.339
        Gaussian noise (std 0.2): 0.321
        rotate 90: 0.308
        rotate 270: 0.328
        color drop: 0.298"""),
    "9": ((M,), """a: crop: 0.322
        a: crop+resize: 0.326
        a: noise: 0.319
        a: masking: 0.288
        b: mask ratio 50 %: 0.283
        b: mask ratio 75 %: 0.307
        b: mask ratio 80 %: 0.300
        b: mask ratio 90 %: 0.249"""),
    "10": (("RMSE",), """none removed: 0.289
        10k memorized removed: 0.295
        10k random removed: 0.292
        20k memorized removed: 0.311
        20k random removed: 0.302"""),
    "11": ((M, A), """supervised, 100 epochs: 0.398/90.1
        supervised, 10 epochs: 0.327/75.2
        DINO, 100 epochs: 0.314/69.1
        DINO, 300 epochs: 0.327/75.4"""),
    "12": (("overlap (%)", "Kendall's tau in the top"), "\n".join(
        f"{which}{line.strip()}" for which in ("", "over subsets, ") for line in
        """top 10: 50.0/0.099
        top 20: 35.0/0.124
        top 50: 48.0/0.162
        top 75: 42.0/0.158
        top 100: 39.0/0.188
        top 150: 41.3/0.174
        top 200: 44.0/0.192""".splitlines())),
    "13": ((TAU,), """MAE (ViT-tiny) and DINO (ViT-tiny): 0.207 to 0.258
        MAE (ViT-tiny) and DINO (ResNet-50): 0.207 to 0.258
        MAE (ViT-tiny) and SimCLR (ResNet-50): 0.207 to 0.258
        DINO (ViT-tiny) and DINO (ResNet-50): 0.207 to 0.258
        DINO (ViT-tiny) and SimCLR (ResNet-50): 0.207 to 0.258
        DINO (ResNet-50) and SimCLR (ResNet-50): 0.207 to 0.258
        MAE (ViT-tiny) and supervised, 100 epochs: 0.074 to 0.112
        MAE (ViT-tiny) and supervised, 10 epochs: 0.074 to 0.112
        DINO (ViT-tiny) and supervised, 100 epochs: 0.074 to 0.112
        DINO (ViT-tiny) and supervised, 10 epochs: 0.074 to 0.112
        DINO (ResNet-50) and supervised, 100 epochs: 0.074 to 0.112
        DINO (ResNet-50) and supervised, 10 epochs: 0.074 to 0.112
        SimCLR (ResNet-50) and supervised, 100 epochs: 0.074 to 0.112
        SimCLR (ResNet-50) and supervised, 10 epochs: 0.074 to 0.112"""),
    "14": (FINE, """none removed: 68.21/58.96/60.11
        10k memorized removed: 64.33/55.15/56.27
        10k random removed: 66.82/56.83/58.08
        20k memorized removed: 58.90/50.07/51.48
        20k random removed: 62.88/53.14/55.29"""),
    "15": ((M,), "Wide-ResNet-50-2: 0.350\nResNet-50: 0.339\nResNet-18: 0.315"),
    "16": (("t",), "C>0: 101.2\nI<0: 100.4\nE>0: 53.2\nC>E: 60.4"),
    "16 p": (("p",), "S=0: 0.47"),
    "17": (PROBES, """25k (all): 63.3/61.1/61.6
        24k most memorized: 64.4/61.3/61.7
        22k most memorized: 63.8/61.8/62.4
        20k most memorized: 63.2/60.8/61.1
        16k most memorized: 61.8/58.4/59.9
        12k most memorized: 59.7/55.6/55.2"""),
    "fig-2": (("mean",), """c: mean of S_C: 0.307
        c: mean of S_S: -0.001
        c: mean of S_E: 0.100
        c: mean of S_I: -0.312"""),
}  # fmt: skip
"""By table: its quantities, and a line for each row with the figure of each."""
CURVES = {"fig-3", "fig-4", "fig-5", "fig-6", "fig-7"}
"""Figures of which the paper prints no number."""


def typed():
    """Yield (table, row, quantity, figure) of the list above."""
    for name, (quantities, text) in PAPER.items():
        for line in text.splitlines():
            row, _, figures = line.strip().rpartition(": ")
            parts = re.split(r"\|" if "|" in figures else "/", figures)
            assert len(parts) == len(quantities)
            for quantity, figure in zip(quantities, parts, strict=True):
                yield name.split()[0], row, quantity, figure


def test_every_figure_is_the_papers_and_none_is_left_out():
    held = [
        (name, row.row, quantity, figure)
        for name, table in tables().items()
        for row in table.rows
        for quantity, figure in row.figures.items()
        if figure is not None
    ]
    assert len(held) == len(set(held)) == 186
    assert sorted(held) == sorted(typed())


def test_every_table_and_figure_is_there_in_its_order():
    names = [*map(str, range(1, 18)), *(f"fig-{n}" for n in range(2, 8))]
    assert list(tables()) == names
    without = {n for n, t in tables().items() if not any(any(r.figures.values()) for r in t.rows)}
    assert without == CURVES


def test_every_figure_has_something_that_makes_or_explains_ours():
    recipes = packaged()
    for table in tables().values():
        assert len({row.row for row in table.rows}) == len(table.rows)
        for row in table.rows:
            assert {name for name in (row.recipe, row.other) if name} <= set(recipes), row
            for quantity in row.figures:
                if table.remark(row, quantity) is None:
                    assert row.recipe and quantity in {*QUANTITIES, *SETTINGS, TAU}, (row, quantity)


@pytest.mark.parametrize("name", ["1", "5", "7", "8", "9", "11", "15"])
def test_a_rows_recipe_describes_the_figure_beside_it(name):
    for row in table_of(name).rows:
        text = " ".join(read(Path(packaged()[row.recipe]))["description"].split())
        assert f"SSLMem {row.figures['SSLMem']}" in text, row


def test_what_is_no_table_is_told_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown table 'fig-33'\. Did you mean 'fig-3'\?"):
        table_of("fig-33")
