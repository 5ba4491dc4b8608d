"""What the tests of losses share: signals, and every loss by name."""

import numpy as np
import torch

from ddaudio.losses import make_loss
from ddaudio.options import LOSSES

SAMPLE_RATE = 16_000


def every_name() -> list[str]:
    """Each kind and each variant; of pdl each word, and every combination of all pairs, which are computed in different ways."""
    names = ["huber:0.3", "pdl:1:5:44", "pdl:long-range:by-distance:huber", "pdl:far-to-near:absolute"]
    names += [f"pdl:all-pairs:{word}" for word in ("by-distance", "by-inverse-distance", "absolute", "huber")]
    for kind, variants in ((name, spec.variants) for name, spec in LOSSES.items()):
        words = [word for known in variants.values() for word in known]
        names += [f"{kind}:{word}" for word in words] or [kind]
    return names


ALL = every_name()
OURS = [name for name in ALL if not name.startswith("auraloss")]
ON_CROPS = frozenset(name for name in ALL if make_loss(name, SAMPLE_RATE).on_crops)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def with_gradient(name, estimate, target, moment=None):
    estimate = estimate.clone().requires_grad_()
    values = make_loss(name, SAMPLE_RATE)(estimate, target, moment)
    (gradient,) = torch.autograd.grad(values.sum(), estimate)
    return values.detach(), gradient
