"""The cost model: which form of a layer's statistics is cheapest for its shapes.

Costs are counted for one sample, in multiply-adds of a small product. `benchmarks/bench_forms.py`
times every form on the layers of common nets and reports what each choice loses.
"""

MOVED = 16  # a value that is copied, added or read once: the time of so many multiply-adds
LARGE = 0.5  # a multiply-add of one product or convolution of the whole mini-batch


def dense_costs(t, d, p, with_dot):
    """Return the cost by form of G = sum_t b_t a_t^T (p, d) over t positions.

    "gradient" forms G, whose norm and inner product are then read off; "gram" sums over pairs of
    positions and takes the inner product from one large product with the direction.
    """
    return {
        "gradient": t * p * d + MOVED * (1 + with_dot) * p * d,
        "gram": t * t * (p + d) + MOVED * 2 * t * t + with_dot * LARGE * t * p * d,
    }


def convolution_costs(t, d, p, groups, channels, pixels, shifted, with_dot):
    """Return the cost by form of a convolution's weight.

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
    costs = {form: groups * (cost + MOVED * t * d) for form, cost in dense_costs(t, d, p, with_dot).items()}
    pairs = pixels * pixels * channels + t * t * p + MOVED * (shifted + t * t)
    costs["pixels"] = groups * (pairs + with_dot * LARGE * t * p * d)
    return costs


def cheapest(costs):
    """Return the form of least cost."""
    return min(costs, key=costs.get)
