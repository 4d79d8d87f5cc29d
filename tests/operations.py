"""What a piece of work asks of a device: its operations, told without one."""

import contextlib
from collections import Counter
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from curate.encoders import loop as steps
from curate.encoders.schedule import optimizer

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique2")
"""Operations that give the host a number, or a shape that it has to know, and so wait."""
IDLE = (
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"),
    *("detach", "_unsafe_view", "_reshape_alias", "lift_fresh", "set_", "resize_"),
)
"""Operations, beside views, that a device computes nothing for."""


class Operations(TorchDispatchMode):
    """The operations that reach the dispatcher below autograd, forward and backward, by name.

    Attributes:
        kernels: Of those that compute or copy something, how many there were of each. A card is
            asked for about as many kernels: an operation on a list of tensors counts once.
        reads: Of those that the host waits for.
        copies: Of those that bring a tensor from the host to another device.
    """

    def __init__(self):
        super().__init__()
        self.kernels, self.reads, self.copies = Counter(), Counter(), Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        if name in READS:
            self.reads[name] += 1
        elif name == "lift_fresh" or moved(args, out):
            self.copies[name] += 1
        elif not operation.is_view and name not in IDLE:
            self.kernels[name] += 1
        return out

    @property
    def total(self):
        """How many kernels there were in all."""
        return sum(self.kernels.values())


def moved(args, out):
    """Tell whether an operation took a tensor of the host and gave one of another device."""
    given = next((a for a in args if isinstance(a, torch.Tensor)), None)
    return (
        given is not None
        and isinstance(out, torch.Tensor)
        and given.device.type == "cpu" != out.device.type
    )


@contextlib.contextmanager
def card():
    """Pretend that there is a CUDA device: tensors have shapes, types and devices, and no numbers.

    What mixes devices, or asks for a number, fails as it would or worse; gradients cannot be had.
    """
    # Else torch turns autocast off, since it sees no card.
    seen = mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    able = mock.patch("torch.cuda.is_bf16_supported", lambda: True)
    large = mock.patch("torch.cuda.mem_get_info", lambda: (80 << 30, 80 << 30))
    with seen, able, large, FakeTensorMode(allow_non_fake_inputs=True):
        yield


def on_card(module: nn.Module) -> nn.Module:
    """Put a module's tensors on the pretended card, in place; within ``card``."""
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                like = nn.Parameter(torch.empty_like(p, device="cuda"), p.requires_grad)
                part._parameters[name] = like
        for name, b in part._buffers.items():
            if b is not None:
                part._buffers[name] = torch.empty_like(b, device="cuda")
    return module


def as_on_card(loop):
    """Let the loop of a training on a CPU ask for what it asks a card for."""
    loop.ahead = steps.UNREAD
    loop.optimizer = optimizer(loop.method, loop.config, "cuda")
    return loop


class Recorder(TorchDispatchMode):
    """Notes down the operations of some work on a CPU as a CUDA graph does: with the memory they
    read and write, and with every number of the host as it was.

    Attributes:
        calls: Operations, their arguments, and what they gave.
        found: Tensors that were changed in place, and copies of what they were.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.found, self.made = [], {}, set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        if name in READS or name == "lift_fresh":
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        for argument, value in zip(operation._schema.arguments, args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            # Batch normalisation changes its statistics and does not say so.
            if written or argument.name.startswith("running_"):
                for tensor in flat([value]):
                    place = tensor.untyped_storage().data_ptr()
                    if place not in self.found and place not in self.made:
                        # All of the memory: others may be slices of it.
                        whole = tensor.new_empty(0).set_(tensor.untyped_storage())
                        self.found[place] = (whole, whole.clone())
        out = operation(*args, **kwargs)
        given = {t.untyped_storage().data_ptr() for t in flat([args, list(kwargs.values())])}
        fresh = [t for t in flat([out]) if t.untyped_storage().data_ptr() not in given]
        self.made |= {t.untyped_storage().data_ptr() for t in fresh}
        changes = any(a.alias_info and a.alias_info.is_write for a in operation._schema.arguments)
        if changes or (fresh and name not in IDLE):
            self.calls.append((operation, args, kwargs, [] if changes else flat([out])))
        elif fresh:
            # Nobody may read what was there before, and its memory stays.
            self.calls.append((None, (), {}, fresh))
        return out

    def repeat(self):
        """Do it all again in the same memory."""
        with torch._C._AutoDispatchBelowAutograd(), torch.no_grad():
            for operation, args, kwargs, results in self.calls:
                if operation is not None:
                    for old, new in zip(results, flat([operation(*args, **kwargs)]), strict=False):
                        if old.data_ptr() != new.data_ptr():
                            old.copy_(new)


def flat(values):
    """Return the tensors in nested lists and tuples."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += flat(value)
    return found


def recorded(work):
    """Capture work as ``captured.cuda_graph`` does, on a CPU: nothing is done yet."""
    recorder = Recorder()
    with recorder:
        result = work()
    for tensor, before in recorder.found.values():
        tensor.copy_(before)
    return recorder.repeat, result.detach()
