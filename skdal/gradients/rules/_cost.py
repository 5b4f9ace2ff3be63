"""The cost model: which form of a layer's statistics is cheapest for its shapes.

Costs are for one sample, in multiply-adds of small products. `benchmarks/bench_forms.py` times
every form on the layers of common nets, fits the constants and reports what each choice loses.
"""

from typing import NamedTuple

# What one of each costs, in multiply-adds of a product that is made for each sample. The
# benchmark fitted these.
_PRICES = {
    "small": 1.0,
    "large": 0.95,
    "copied": 40.0,
    "read": 13.0,
    "added": 24.0,
}


class Cost(NamedTuple):
    """What a form does for a sample.

    Attributes
    ----------
    small : int
        Multiply-adds of products made for each sample.
    large : int
        Multiply-adds of products or convolutions of the whole mini-batch.
    copied : int
        Values copied into patches.
    read : int
        Values read once more.
    added : int
        Values of shifted matrices added up.
    """

    small: int = 0
    large: int = 0
    copied: int = 0
    read: int = 0
    added: int = 0

    @property
    def total(self):
        """In multiply-adds."""
        return sum(price * part for price, part in zip(_PRICES.values(), self))

    def of_groups(self, n_groups):
        """Return what as much for each of several groups costs."""
        return Cost(*(n_groups * part for part in self))


def dense_costs(t, d, p, with_dot):
    """Return the Cost by form of G = sum_t b_t a_t^T (p, d) over t positions.

    "gradient" forms G, whose norm and inner product are then read off; "gram" sums over pairs of
    positions and takes the inner product from one large product with the direction.
    """
    gradient = Cost(small=t * p * d, read=(1 + with_dot) * p * d)
    gram = Cost(
        small=t * t * (p + d),
        read=2 * t * t,
        large=with_dot * t * p * d,
    )
    return {"gradient": gradient, "gram": gram}


def convolution_costs(
    t,
    d,
    p,
    groups,
    channels,
    pixels,
    shifted,
    with_dot,
):
    """Return the Cost by form of a convolution's weight.

    Parameters
    ----------
    t, d, p : int
        Positions of the output, values of a patch, and outputs, of one group.
    groups, channels : int
        Groups, and input channels of one group.
    pixels : int
        Positions of the input that the kernel touches.
    shifted : int
        Values added up while a pixel Gram matrix is turned into that of the patches.
    with_dot : bool
        Whether the inner product is wanted.
    """
    costs = dense_costs(t, d, p, with_dot)
    costs = {form: cost._replace(copied=t * d) for form, cost in costs.items()}
    costs["pixels"] = Cost(
        small=pixels * pixels * channels + t * t * p,
        read=2 * t * t,
        added=shifted,
        large=with_dot * t * p * d,
    )
    return {form: cost.of_groups(groups) for form, cost in costs.items()}


def cheapest(costs):
    """Return the form of least cost."""
    return min(costs, key=lambda form: costs[form].total)
