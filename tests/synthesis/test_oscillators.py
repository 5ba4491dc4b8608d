"""Sums of sinusoids by all methods, against a float64 sum that spells every sine out."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from banks import decays, partials, reference, relative_error
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio.errors import OptionError
from ddaudio.synthesis import nufft, oscillators
from ddaudio.synthesis.oscillators import sum_of_sinusoids

METHODS = ("direct", "factored", "nufft", "auto")
DAMPED = ("direct", "factored", "auto")
FAR = -1e7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("origin", [0.0, 499.5, FAR])
@pytest.mark.parametrize(("size", "n_samples"), [(1, 1), (3, 7), (200, 1000), (50, 4001)])
def test_float32_sums_are_as_exact_as_float32(method, origin, size, n_samples):
    inputs = partials(size)
    found = sum_of_sinusoids(*inputs, n_samples, origin=origin, method=method)
    assert found.shape == (n_samples,)
    assert found.dtype == torch.float32
    # Required is 1e-6. A phase below 2 pi in float32 is off by at most 2.4e-7; phases that were not reduced in float64
    # would be off by 0.5 rad and more at sample 1e7.
    assert relative_error(found, reference(*inputs, n_samples, origin)) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_partials_at_the_ends_of_the_band(method):
    frequency, one = torch.tensor([0.0, math.pi], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for index, closed in ((0, torch.ones(3000)), (1, torch.tensor([1.0, -1.0]).repeat(1500))):
        found = sum_of_sinusoids(frequency[index : index + 1], one, one * 0, 3000, method=method)
        torch.testing.assert_close(found, closed.double(), rtol=0, atol=1e-11)  # pi's own rounding, 1e-16, times 3000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("origin", "tolerance"), [(0.0, 1e-12), (499.5, 1e-12), (FAR, 1e-8)])
def test_float64_sums_are_as_exact_as_float64(method, origin, tolerance):
    if method == "nufft":
        tolerance = max(tolerance, 1e-11)  # finufft is asked for 1e-12, and that is an estimate
    inputs = partials(100, dtype=torch.float64)
    found = sum_of_sinusoids(*inputs, 1000, origin=origin, method=method)
    assert found.dtype == torch.float64
    # A phase of 3e3 is rounded to 2e-13, one of 3e7 to 4e-9; the factored method adds up two such phases.
    assert relative_error(found, reference(*inputs, 1000, origin)) < tolerance


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(0, 20),
    n_samples=st.integers(1, 600),
    batch=st.lists(st.integers(0, 3), max_size=3),
    origin=st.sampled_from([0.0, 0.5, -3.0, 300.0]),
    seed=st.integers(0, 100),
)
@example(size=0, n_samples=5, batch=[], origin=0.0, seed=0)
@example(size=0, n_samples=1, batch=[2], origin=0.5, seed=0)
@example(size=3, n_samples=1, batch=[2, 2], origin=0.5, seed=0)
@example(size=3, n_samples=2, batch=[2, 0], origin=0.0, seed=0)
def test_methods_agree_for_every_shape(size, n_samples, batch, origin, seed):
    inputs = partials(*batch, size, seed=seed, dtype=torch.float64)
    wanted = reference(*inputs, n_samples, origin)
    for method in METHODS:
        found = sum_of_sinusoids(*inputs, n_samples, origin=origin, method=method)
        assert found.shape == (*batch, n_samples)
        # float64 phases up to 2000 are rounded to 1e-13; at most 20 partials of order one
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", ["direct", "factored", "nufft"])
@pytest.mark.parametrize("origin", [0.0, 5.5])
@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 1)])
def test_gradients_equal_finite_differences(method, origin, shape):
    inputs = [part.requires_grad_() for part in partials(*shape, dtype=torch.float64)]
    if method != "nufft":
        inputs.append(decays(*shape, scale=0.2, dtype=torch.float64).requires_grad_())

    def total(*parts):
        decay = parts[3] if len(parts) > 3 else None
        return sum_of_sinusoids(*parts[:3], 11, decay=decay, origin=origin, method=method)

    # gradcheck's own defaults for float64: steps of 1e-6, 1e-5 absolute, 1e-3 relative
    assert torch.autograd.gradcheck(total, inputs)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_gradients_that_are_asked_for(method):
    inputs = partials(5, dtype=torch.float64)
    weights = torch.linspace(-1, 2, 40, dtype=torch.float64)

    def gradients(*asked):
        own = [part.clone().requires_grad_(index in asked) for index, part in enumerate(inputs)]
        (sum_of_sinusoids(*own, 40, method=method) * weights).sum().backward()
        return [part.grad for part in own]

    wanted = gradients(0, 1, 2)
    for index in range(3):
        found = gradients(index)
        torch.testing.assert_close(found[index], wanted[index], rtol=1e-10, atol=1e-10)  # 1e-12 is asked of finufft
        assert [part is None for part in found] == [other != index for other in range(3)]


def test_decay_alone_gets_its_gradient():
    inputs = partials(5, dtype=torch.float64)
    gradients = []
    for method in ("direct", "factored"):
        decay = decays(5, scale=0.01, dtype=torch.float64).requires_grad_()
        sum_of_sinusoids(*inputs, 300, decay=decay, origin=20.0, method=method).square().sum().backward()
        gradients.append(decay.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=0)  # sums of 300 terms, of which the largest are 1e3 times the sum


def test_gradients_of_long_sums_equal_those_of_the_direct_method():
    gradients = {}
    for method in ("direct", "factored", "nufft"):
        inputs = [part.requires_grad_() for part in partials(2, 30, dtype=torch.float64)]
        weights = torch.tensor(np.random.default_rng(7).standard_normal((2, 900)))
        (sum_of_sinusoids(*inputs, 900, origin=449.5, method=method) * weights).sum().backward()
        gradients[method] = [part.grad for part in inputs]
    for method in ("factored", "nufft"):
        for found, wanted in zip(gradients[method], gradients["direct"], strict=True):
            # phases to 2e-13, and 1e-12 asked of finufft
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10 * wanted.abs().max().item())


@pytest.mark.parametrize("method", DAMPED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n_samples", "origin", "scale"), [(1, 0.0, 2.0), (1000, 499.5, 0.02), (1000, -100.0, 0.02), (4001, 0.0, 2e-3)]
)
def test_damped_sums(method, dtype, n_samples, origin, scale):
    inputs, decay = partials(150, dtype=dtype), decays(150, scale=scale, dtype=dtype)
    found = sum_of_sinusoids(*inputs, n_samples, decay=decay, origin=origin, method=method)
    wanted = reference(*inputs, n_samples, origin, decay)
    # As without decay: 1e-6 is required in float32; in float64 phases and exponents up to 1e4 are rounded to 1e-12.
    assert relative_error(found, wanted) < (1e-6 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize(("decay", "origin"), [(0.5, 0.0), (-0.5, 39_999.0)])
def test_steep_envelopes_do_not_overflow(decay, origin):
    # Over one row of the factored method, 200 samples, the envelope changes by exp(100), which float32 cannot hold.
    frequency, one = torch.tensor([0.0]), torch.ones(1)
    found = sum_of_sinusoids(frequency, one, one, 40_000, decay=one * decay, origin=origin, method="factored")
    wanted = reference(frequency, one, one, 40_000, origin, one * decay)
    assert relative_error(found, wanted) < 1e-6  # as required everywhere


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_empty_banks_are_silent_and_have_gradients(method, shape):
    inputs = [torch.zeros(shape, requires_grad=True) for _ in range(3)]
    found = sum_of_sinusoids(*inputs, 7, method=method)
    assert torch.equal(found, torch.zeros(*shape[:-1], 7))
    found.sum().backward()
    assert all(part.grad.shape == shape for part in inputs)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_a_loop(method):
    inputs = [part.requires_grad_() for part in partials(2, 3, 10, dtype=torch.float64)]
    weights = torch.tensor(np.random.default_rng(1).standard_normal((2, 3, 90)))
    batch = sum_of_sinusoids(*inputs, 90, origin=3.0, method=method)
    gradients = torch.autograd.grad((batch * weights).sum(), inputs)
    for i in range(2):
        for j in range(3):
            own = [part[i, j].detach().requires_grad_() for part in inputs]
            alone = sum_of_sinusoids(*own, 90, origin=3.0, method=method)
            torch.testing.assert_close(batch[i, j], alone, rtol=0, atol=1e-11)  # the same sums in another order
            for found, wanted in zip(gradients, torch.autograd.grad((alone * weights[i, j]).sum(), own), strict=True):
                torch.testing.assert_close(found[i, j], wanted, rtol=0, atol=1e-8)  # up to 1e3, in another order


def test_tensors_broadcast():
    frequency, cosine, sine = partials(4, 10)
    found = sum_of_sinusoids(frequency[0], cosine, sine[:, :1], 50)
    wanted = reference(frequency[:1].expand(4, 10), cosine, sine[:, :1].expand(4, 10), 50)
    assert relative_error(found, wanted) < 1e-6  # as required everywhere


def test_blocks_of_the_direct_sum_change_nothing(monkeypatch):
    inputs = [part.requires_grad_() for part in partials(2, 7, dtype=torch.float64)]
    inputs.append(decays(2, 7, scale=0.01, dtype=torch.float64).requires_grad_())

    def run():
        found = sum_of_sinusoids(*inputs[:3], 101, decay=inputs[3], origin=5.5, method="direct")
        return [found, *torch.autograd.grad((found * torch.linspace(-1, 2, 101)).sum(), inputs)]

    wanted = run()
    sizes = []
    block = oscillators._direct_block
    monkeypatch.setattr(oscillators, "_direct_block", lambda *given: sizes.append(given[-1]) or block(*given))
    monkeypatch.setattr(oscillators, "DIRECT_BLOCK_ELEMENTS", 14 * 10)
    for found, expected in zip(run(), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)  # values up to 1e4, in another order
    blocks = [*([10] * 10), 1]
    assert (sizes[:11], sorted(sizes[11:])) == (blocks, sorted(blocks)), "each once for the sum and once for its gradient"


MEMORY = """
import resource, sys
import torch
from ddaudio.synthesis.oscillators import sum_of_sinusoids
assert "finufft" not in sys.modules, "finufft is loaded only when it is used"
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
inputs = [torch.rand(100_000).requires_grad_() for _ in range(3)]
sum_of_sinusoids(*(part[:600] for part in inputs), 10_000, method="nufft").backward(torch.rand(10_000))
before = peak()
found = sum_of_sinusoids(*inputs, 441_000)
torch.autograd.grad(found, inputs, torch.rand(441_000))
print(peak() - before)
sum_of_sinusoids(*inputs, 44_100, method="factored").backward(torch.rand(44_100))
with torch.no_grad():
    sum_of_sinusoids(*inputs, 441_000, method="factored")
print(peak() - before)
"""


def test_memory_stays_bounded():
    result = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    by_nufft, by_both = (float(line) for line in result.stdout.split())
    # Partials times samples are 164 GB; the tables of all partials at once would take 1 GB. Found: 60 to 90 and 150 to 200 MB.
    assert by_nufft < 300
    assert by_both < 500


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["frequency", "cosine", "sine", "decay"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(method, name, value):
    given = {key: torch.ones(2, 3) for key in ("frequency", "cosine", "sine", "decay")}
    given[name] = given[name].clone()
    given[name][1, 2] = value
    with pytest.raises(OptionError, match=f"{name} has 1 of 6 values NaN or infinite"):
        sum_of_sinusoids(**given, n_samples=4, method=method)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "factor"}, "method is 'factor'; allowed: .*factored"),
        ({"n_samples": 0}, "n_samples is 0; allowed: whole numbers, 1 or more"),
        ({"n_samples": 2.5}, "n_samples is 2.5; allowed"),
        ({"n_samples": True}, "n_samples is True; allowed"),
        ({"origin": math.nan}, "origin is nan; allowed"),
        ({"sine": torch.ones(2)}, r"frequency \[3\], cosine \[3\], sine \[2\] do not broadcast"),
        ({"decay": torch.ones(4)}, r"decay \[4\] do not broadcast"),
        ({"cosine": torch.ones(3, dtype=torch.float64)}, "cosine torch.float64 on cpu, .* convert them"),
        (
            dict.fromkeys(("frequency", "cosine", "sine"), torch.ones(3, dtype=torch.int64)),
            "allowed: either float32 or float64",
        ),
        (dict.fromkeys(("frequency", "cosine", "sine"), torch.ones(())), "frequency has no dimension"),
        ({"method": "nufft", "decay": torch.ones(3)}, "supports no decay; leave decay out, or use method='factored'"),
    ],
)
def test_what_cannot_be_summed_is_refused(change, message):
    fitting = {"frequency": torch.ones(3), "cosine": torch.ones(3), "sine": torch.ones(3), "n_samples": 4}
    sum_of_sinusoids(**fitting)
    with pytest.raises(OptionError, match=message):
        sum_of_sinusoids(**(fitting | change))


def test_without_its_library_nufft_is_refused_and_never_picked(monkeypatch):
    monkeypatch.setattr(nufft, "find_spec", {}.get)
    inputs = partials(600)
    with pytest.raises(OptionError, match="needs finufft on cpu; install it, or use method='factored'"):
        sum_of_sinusoids(*inputs, 20_000, method="nufft")
    assert torch.equal(sum_of_sinusoids(*inputs, 20_000), sum_of_sinusoids(*inputs, 20_000, method="factored"))


@pytest.mark.parametrize(
    ("size", "n_samples", "damped", "expected"),
    [
        (4, 100, False, "direct"),
        (5, 100, False, "factored"),
        (20, 199, False, "factored"),
        (19, 250, False, "factored"),
        (20, 200, False, "nufft"),
        (20, 200, True, "factored"),
    ],
)
def test_auto_takes_the_method_that_the_size_asks_for(monkeypatch, size, n_samples, damped, expected):
    monkeypatch.setattr(oscillators, "DIRECT_ELEMENTS", 500)
    monkeypatch.setattr(oscillators, "NUFFT_PARTIALS", 20)
    monkeypatch.setattr(oscillators, "NUFFT_ELEMENTS", 4000)
    inputs, decay = partials(size), decays(size, scale=0.01) if damped else None
    results = {
        method: sum_of_sinusoids(*inputs, n_samples, decay=decay, origin=3.0, method=method)
        for method in METHODS
        if not (damped and method == "nufft")
    }
    found = results.pop("auto")
    # The methods round differently, so equality to the last bit tells which one was taken.
    assert [method for method, other in results.items() if torch.equal(found, other)] == [expected]


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@cuda
@pytest.mark.parametrize("method", DAMPED)
@pytest.mark.parametrize("size", [3, 700])
def test_sums_on_cuda(method, size):
    inputs, decay = partials(2, size), decays(2, size, scale=1e-3)
    moved = [part.cuda().requires_grad_() for part in (*inputs, decay)]
    found = sum_of_sinusoids(*moved[:3], 9000, decay=moved[3], origin=FAR / 1e5, method=method)
    assert found.is_cuda
    assert relative_error(found.cpu(), reference(*inputs, 9000, FAR / 1e5, decay)) < 1e-6  # as required everywhere
    own = [part.double().requires_grad_() for part in (*inputs, decay)]
    weights = torch.tensor(np.random.default_rng(1).standard_normal((2, 9000)))
    truth = sum_of_sinusoids(*own[:3], 9000, decay=own[3], origin=FAR / 1e5, method="direct")
    wanted = torch.autograd.grad((truth * weights).sum(), own)
    for gradient, expected in zip(torch.autograd.grad(found, moved, weights.float().cuda()), wanted, strict=True):
        assert relative_error(gradient.cpu(), expected.numpy()) < 1e-5  # sums over 9000 samples that cancel, in float32


@cuda
def test_nufft_on_cuda_needs_cufinufft():
    inputs = [part.cuda() for part in partials(700)]
    if nufft.available(inputs[0].device):
        found = sum_of_sinusoids(*inputs, 9000, method="nufft")
        assert relative_error(found.cpu(), reference(*partials(700), 9000)) < 1e-6  # as required everywhere
    else:
        with pytest.raises(OptionError, match="needs cufinufft on cuda"):
            sum_of_sinusoids(*inputs, 9000, method="nufft")
