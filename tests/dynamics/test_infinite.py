"""Kernels of infinitely wide networks: an independent implementation's values, loops, and wide
nets."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from wide import wide_net

from skdal.dynamics import (
    _infinite,
    check_network,
    empirical_ntk,
    generalization_bound,
    infinite_ntk,
)
from skdal.exceptions import (
    IllConditionedWarning,
    InvalidDataError,
    InvalidParameterError,
)

FOLDER = Path(
    os.environ.get("SKDAL_ORACLES", Path(__file__).parents[3] / "shared" / "oracles")
)
needs_oracle = pytest.mark.skipif(
    not (FOLDER / "infinite_ntk.npz").exists() and "SKDAL_ORACLES" not in os.environ,
    reason="no reference values here",
)
NETS = {
    "mlp2": {"depth": 2},
    "mlp3_bias": {"depth": 3, "weight_std": 1.5, "bias_std": 0.1},
    "conv3_gap": {"kind": "conv", "depth": 3},
    "conv2_flatten": {"kind": "conv", "depth": 2, "readout": "flatten"},
}
RNG = np.random.default_rng(0)
IMAGES, OTHERS = RNG.normal(size=(7, 2, 5, 4)), RNG.normal(size=(4, 2, 5, 4))
CONV = {"kind": "conv", "depth": 2}


@needs_oracle
@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
@pytest.mark.parametrize("pair", ["x1x1", "x1x2"])
@pytest.mark.parametrize("name", NETS)
def test_values_of_an_independent_implementation(name, pair, kernel):
    held = np.load(FOLDER / "infinite_ntk.npz")
    x1, x2 = held["x1"], held["x2"]
    if NETS[name].get("kind") == "conv":
        x1, x2 = (x.transpose(0, 3, 1, 2) for x in (x1, x2))
    found = infinite_ntk(
        x1, None if pair == "x1x1" else x2, kernel=kernel, **NETS[name]
    )
    np.testing.assert_allclose(found, held[f"{name}/{pair}/{kernel}"], rtol=1e-8)


def looped(x, y, *, depth, weight_var=2.0, bias_var=0.0, window=3, pools=True):
    """Return (ntk, nngp) of one pair of images (channels, h, w), all positions against all, by arc
    cosines."""
    h, w = x.shape[1:]
    positions = [(i, j) for i in range(h) for j in range(w)]

    def convolved(S):
        reach = range(-(window // 2), window // 2 + 1)
        out = {}
        for s in positions:
            for t in positions:
                moved = (
                    ((s[0] + a, s[1] + b), (t[0] + a, t[1] + b))
                    for a in reach
                    for b in reach
                )
                out[s, t] = (
                    weight_var / window**2 * sum(S.get(pair, 0.0) for pair in moved)
                )
        return out

    def inputs(x, y):
        return {
            (s, t): x[:, *s] @ y[:, *t] / len(x) for s in positions for t in positions
        }

    S, of_x, of_y = inputs(x, y), inputs(x, x), inputs(y, y)
    T = dict.fromkeys(S, 0.0)
    for _ in range(depth):
        S, of_x, of_y = (
            {p: v + bias_var for p, v in convolved(C).items()} for C in (S, of_x, of_y)
        )
        T = {p: v + S[p] for p, v in convolved(T).items()}

        def activated(C, q, r):
            return (
                np.sqrt(q * r)
                / (2 * np.pi)
                * _first(np.clip(C / np.sqrt(q * r), -1, 1))
            )

        T = {
            p: T[p] * _zeroth(S[p] / np.sqrt(of_x[p[0], p[0]] * of_y[p[1], p[1]]))
            for p in S
        }
        S = {p: activated(S[p], of_x[p[0], p[0]], of_y[p[1], p[1]]) for p in S}
        of_x, of_y = (
            {p: activated(C[p], C[p[0], p[0]], C[p[1], p[1]]) for p in C}
            for C in (of_x, of_y)
        )
    read = [(s, t) for s in positions for t in positions if pools or s == t]
    nngp = weight_var * np.mean([S[p] for p in read]) + bias_var
    return weight_var * np.mean([T[p] for p in read]) + nngp, nngp


def _first(cosine):
    angle = np.arccos(cosine)
    return np.sin(angle) + (np.pi - angle) * cosine


def _zeroth(cosine):
    return (np.pi - np.arccos(np.clip(cosine, -1, 1))) / (2 * np.pi)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
@pytest.mark.parametrize(
    "window, bias_std, depth", [(3, 0.0, 1), (3, 0.3, 2), (5, 0.2, 3), (1, 0.1, 2)]
)
def test_loops_over_all_positions(window, bias_std, depth, readout):
    settings = {
        "kind": "conv",
        "depth": depth,
        "weight_std": 1.3,
        "bias_std": bias_std,
        "readout": readout,
    }
    settings["kernel_size"] = window
    pair = IMAGES[0], OTHERS[0]
    expected = looped(
        *pair,
        depth=depth,
        weight_var=1.69,
        bias_var=bias_std**2,
        window=window,
        pools=readout == "gap",
    )
    for kernel, value in zip(("ntk", "nngp"), expected):
        found = infinite_ntk(*(x[None] for x in pair), kernel=kernel, **settings)
        assert found[0, 0] == pytest.approx(value, rel=1e-12)


def test_the_diagonal_is_exact():
    """An image is at no angle to itself: there, T is halved by each activation, and S too."""
    found = infinite_ntk(IMAGES, kind="conv", depth=20, readout="flatten")
    for image, value in zip(IMAGES, np.diag(found)):
        S, T = (image**2).mean(0), np.zeros(image.shape[1:])

        def summed(M):
            return (
                sum(
                    np.pad(M, 1)[a : a + 5, b : b + 4]
                    for a in range(3)
                    for b in range(3)
                )
                * 2
                / 9
            )

        for _ in range(20):
            S = summed(S)
            T = summed(T) + S
            S, T = S / 2, T / 2
        assert value == pytest.approx(2 * (S + T).mean(), rel=1e-13)


WIDE = {
    "mlp": ({"depth": 2}, {"depth": 2}, (64, 256, 1024)),
    "mlp with biases": (
        {"depth": 1, "bias_std": 0.5},
        {"depth": 1, "bias_std": 0.5},
        (64, 256, 1024),
    ),
    "conv, gap": (CONV, {"depth": 2, "window": 3}, (16, 64, 256)),
    "conv, flatten": (
        CONV | {"readout": "flatten"},
        {"depth": 2, "window": 3, "pools": False},
        (16, 64, 256),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_wide_nets_approach_it(name):
    infinite, finite, widths = WIDE[name]
    X, theta = IMAGES[:3], infinite_ntk(IMAGES[:3], **infinite)
    errors = []
    for width in widths:
        nets = [
            wide_net(seed, shape=X.shape[1:], width=width, **finite)
            for seed in range(20)
        ]
        found = [empirical_ntk(net, X, reduction="trace") / 2 for net in nets]
        errors.append(
            np.sqrt(np.mean([((K - theta) ** 2).mean() for K in found]))
            / np.abs(theta).max()
        )
    assert errors[-1] < 0.08
    assert (
        -0.65 < np.polyfit(np.log(widths), np.log(errors), 1)[0] < -0.35
    )  # as 1 / sqrt(width)


@pytest.fixture
def tile_bytes(monkeypatch):
    """Return a function (device, bytes) that sets the size of tiles."""
    return partial(monkeypatch.setitem, _infinite._TILE_BYTES)


def test_chunks_make_no_difference(tile_bytes):
    whole = infinite_ntk(IMAGES, **CONV), infinite_ntk(IMAGES, OTHERS, **CONV)
    tile_bytes("cpu", 160)
    parts = infinite_ntk(IMAGES, **CONV), infinite_ntk(IMAGES, OTHERS, **CONV)
    for one, other in zip(whole, parts):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    np.testing.assert_allclose(
        whole[0], infinite_ntk(IMAGES, IMAGES.copy(), **CONV), rtol=1e-13
    )
    assert (parts[0] == parts[0].T).all()
    assert (whole[0] == whole[0].T).all()
    assert np.linalg.eigvalsh(parts[0])[0] > 0


def test_float32_and_tensors():
    exact = infinite_ntk(IMAGES, OTHERS, **CONV)
    found = infinite_ntk(
        torch.tensor(IMAGES, requires_grad=True),
        torch.tensor(OTHERS),
        dtype="float32",
        **CONV,
    )
    assert found.dtype == np.float32
    assert exact.dtype == np.float64
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    eight_bit = RNG.integers(256, size=(3, 1, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(
        infinite_ntk(eight_bit, **CONV), infinite_ntk(eight_bit.astype(float), **CONV)
    )


def test_a_black_image_has_no_kernel():
    found = infinite_ntk(np.concatenate([IMAGES[:2], np.zeros((1, 2, 5, 4))]), **CONV)
    assert np.isfinite(found).all()
    assert not found[2].any()
    assert found[0, 1] > 0


def test_torchs_threads_are_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(4) as pool:  # calls that overlap
            kernels = list(pool.map(lambda _: infinite_ntk(IMAGES, **CONV), range(8)))
        infinite_ntk(IMAGES, **CONV)  # in this thread, whose number is its own
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert all((kernel == kernels[0]).all() for kernel in kernels)


def test_tiles_of_another_size_are_kept_apart(tmp_path, tile_bytes):
    """A device with more memory works in larger tiles."""
    flat = {"kind": "conv", "depth": 1, "readout": "flatten", "cache_dir": tmp_path}
    for values in (20, 200, 20):
        tile_bytes("cpu", 8 * values)
        found = infinite_ntk(IMAGES, **flat)
        np.testing.assert_allclose(
            found, infinite_ntk(IMAGES, **flat | {"cache_dir": None}), rtol=1e-13
        )


def test_damaged_rows_are_told_of(tmp_path):
    infinite_ntk(IMAGES, cache_dir=tmp_path, **CONV)
    (file,) = tmp_path.glob("*/rows-*.npy")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InvalidDataError, match=r"rows-.*npy is damaged"):
        infinite_ntk(IMAGES, cache_dir=tmp_path, **CONV)


@pytest.mark.parametrize(
    "change",
    [lambda a: a * np.nan, lambda a: a.astype("float32"), lambda a: a[:1]],
    ids=["NaN", "float32", "shape"],
)
def test_rows_of_another_kind_are_told_of(change, tmp_path):
    infinite_ntk(IMAGES, cache_dir=tmp_path, **CONV)
    (file,) = tmp_path.glob("*/rows-*.npy")
    np.save(file, change(np.load(file)))
    with pytest.raises(
        InvalidDataError,
        match=r"is damaged .it holds .* and not \(7, 7\) finite numbers of float64",
    ):
        infinite_ntk(IMAGES, cache_dir=tmp_path, **CONV)


def test_a_folder_or_device_that_cannot_be_used_is_told_of_at_once(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(_infinite, "kernel_block", None)
    (tmp_path / "file").touch()
    with pytest.raises(
        InvalidParameterError, match="cannot write into the folder .*file"
    ):
        infinite_ntk(IMAGES, cache_dir=tmp_path / "file", **CONV)
    with pytest.raises(InvalidParameterError, match="there is no device 'gpu' here"):
        infinite_ntk(IMAGES, device="gpu", **CONV)
    for device in (1, ""):
        with pytest.raises(
            InvalidParameterError, match=f"there is no device {device!r} here"
        ):
            infinite_ntk(IMAGES, device=device, **CONV)
    with pytest.raises(
        InvalidParameterError, match="a folder is named by a str or a Path; got 5"
    ):
        infinite_ntk(IMAGES, cache_dir=5, **CONV)


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_scales_that_float32_cannot_square_are_refused(scale):
    with pytest.raises(InvalidDataError, match="too large or too small for float32"):
        infinite_ntk(scale * IMAGES, dtype="float32", **CONV)
    np.testing.assert_allclose(
        infinite_ntk(scale * IMAGES, **CONV),
        scale**2 * infinite_ntk(IMAGES, **CONV),
        rtol=1e-10,
    )


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_scales_that_float32_does_not_hold_are_refused(scale):
    one_of_them = IMAGES.copy()
    one_of_them[2] *= scale
    for images in (IMAGES * scale, one_of_them):
        with pytest.raises(
            InvalidDataError, match="too large or too small for float32"
        ):
            infinite_ntk(images, dtype="float32", **CONV)


def test_weights_that_make_variances_overflow_are_named():
    with pytest.raises(
        InvalidDataError, match=r"multiplies variances by weight_std\^2 / 2"
    ):
        infinite_ntk(IMAGES, kind="mlp", depth=400, weight_std=3.0)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_samples_that_float32_cannot_tell_apart_are_warned_of(factor):
    """They are so near that the bound of float32 is off by far more than its rounding."""
    near = factor * (IMAGES + 3e-3 * np.random.default_rng(5).normal(size=IMAGES.shape))
    both, Y = np.concatenate([IMAGES, near]), np.eye(2)[np.repeat([0, 1], len(IMAGES))]
    with pytest.warns(
        IllConditionedWarning, match="samples 0 and 7 of X1 are at an angle of 0.003"
    ) as caught:
        blurred = infinite_ntk(both, dtype="float32", **CONV)
    assert caught[0].filename == __file__
    with pytest.warns(IllConditionedWarning, match="samples 0 and 0 of X1 and X2"):
        infinite_ntk(IMAGES, near, dtype="float32", **CONV)
    exact = generalization_bound(infinite_ntk(both, **CONV), Y)
    assert not 0.99 < generalization_bound(blurred, Y) / exact < 1.01


def test_samples_that_float32_can_tell_apart_are_not_warned_of():
    """Nor exact copies, scaled or not, black images, and anything in float64."""
    apart = IMAGES + 0.03 * np.random.default_rng(5).normal(size=IMAGES.shape)
    near = IMAGES + 1e-3 * np.random.default_rng(5).normal(size=IMAGES.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for others in (apart, IMAGES.copy(), 3.3 * IMAGES, 0 * IMAGES):
            infinite_ntk(np.concatenate([IMAGES, others]), dtype="float32", **CONV)
        infinite_ntk(np.concatenate([IMAGES, near]), **CONV)


@pytest.fixture
def rows_worked(monkeypatch, tile_bytes):
    """Count rows of tiles, of two images each; the sum of 100 is an interruption."""
    tile_bytes("cpu", 160)
    worked, work = [], _infinite._begun

    def counting(*args):
        if len(worked) == worked_at_most[0]:
            raise KeyboardInterrupt
        worked.append(1)
        return work(*args)

    worked_at_most = [100]
    worked_of = worked, worked_at_most
    monkeypatch.setattr(_infinite, "_begun", counting)
    return worked_of


def test_it_goes_on_where_it_was_cut_off(tmp_path, rows_worked):
    worked, at_most = rows_worked
    expected = infinite_ntk(IMAGES, **CONV)
    n_rows = len(worked)
    assert n_rows >= 3
    at_most[0] = n_rows + 2
    with pytest.raises(KeyboardInterrupt):
        infinite_ntk(IMAGES, cache_dir=tmp_path / "new", **CONV)
    at_most[0] = 100
    worked.clear()
    np.testing.assert_array_equal(
        infinite_ntk(IMAGES, cache_dir=tmp_path / "new", **CONV), expected
    )
    assert (
        len(worked) == n_rows - 1
    )  # the second row was begun, and not done, when the third was asked for
    worked.clear()
    np.testing.assert_array_equal(
        infinite_ntk(IMAGES, cache_dir=tmp_path / "new", **CONV), expected
    )
    assert not worked


CHANGES = {
    "inputs": {"X1": IMAGES + 1e-12},
    "a second set": {"X2": IMAGES[:6]},
    "dtype": {"dtype": "float32"},
    "depth": {"depth": 3},
    "readout": {"readout": "flatten"},
    "window": {"kernel_size": 5},
    "bias": {"bias_std": 0.1},
    "kernel": {"kernel": "nngp"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_kernel_is_not_taken_for_the_kept_one(name, tmp_path, rows_worked):
    infinite_ntk(IMAGES, cache_dir=tmp_path, **CONV)
    rows_worked[0].clear()
    arguments = {"X1": IMAGES, **CONV, **CHANGES[name]}
    found = infinite_ntk(cache_dir=tmp_path, **arguments)
    assert rows_worked[0]
    np.testing.assert_array_equal(found, infinite_ntk(**arguments))


def test_large_mlp_kernels_are_symmetric_in_tiles():
    X = RNG.normal(size=(600, 8))
    theta = infinite_ntk(X, depth=1)
    angle = np.arccos(
        np.clip((X @ X.T) / np.outer(*[np.linalg.norm(X, axis=1)] * 2), -1, 1)
    )
    S, q = 2 / 8 * X @ X.T, np.outer(*[np.linalg.norm(X, axis=1) / 2] * 2)
    nngp = q / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    np.testing.assert_allclose(
        theta, nngp + S * (np.pi - angle) / np.pi, rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("n", [1, 9, 10, 16, 17, 100])
def test_tiles_are_of_equal_size_and_near_what_fits_the_cache(n, tile_bytes):
    tile_bytes("cpu", 100 * 8)
    network = check_network("mlp", 1, 1.0, 0.0, "gap", 3, "ntk")
    side = _infinite._side_of_tile(
        network, torch.zeros(1, 1, n, 2, dtype=torch.float64)
    )
    assert side <= 15
    assert -(-n // side) * side - n < -(
        -n // side
    )  # the last one lacks less than one image of each other


def test_the_bar(capsys):
    infinite_ntk(IMAGES, verbose=1, **CONV)
    assert "49/49" in capsys.readouterr().err


@pytest.mark.cuda
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("others", [None, OTHERS])
def test_cuda(name, others, tile_bytes):
    tile_bytes("cuda", 2**10)  # several tiles
    found = infinite_ntk(torch.as_tensor(IMAGES).cuda(), others, **NETS[name])
    np.testing.assert_allclose(
        found, infinite_ntk(IMAGES, others, **NETS[name]), rtol=1e-12
    )
    single = infinite_ntk(IMAGES, others, device="cuda", dtype="float32", **NETS[name])
    np.testing.assert_allclose(single, found, rtol=2e-4)


BAD = {
    "kind": (
        {"kind": "cnn"},
        InvalidParameterError,
        "'cnn' is no kind of network.*mlp, conv",
    ),
    "depth": (
        {"depth": 0},
        InvalidParameterError,
        "depth must be an integer of at least 1.*got 0",
    ),
    "readout": ({"readout": "max"}, InvalidParameterError, "readout.*gap, flatten"),
    "kernel": ({"kernel": "rbf"}, InvalidParameterError, "kernel.*ntk, nngp"),
    "an even window": ({"kernel_size": 2}, InvalidParameterError, "odd.*got 2"),
    "no weights": (
        {"weight_std": 0.0},
        InvalidParameterError,
        "weight_std.*above 0.*got 0.0",
    ),
    "a negative bias": (
        {"bias_std": -0.1},
        InvalidParameterError,
        "bias_std must be 0 or a number.*got -0.1",
    ),
    "huge weights": (
        {"weight_std": 1e200},
        InvalidParameterError,
        "weight_std.*to 1e100; got 1e[+]200",
    ),
    "huge biases": (
        {"bias_std": 1e200},
        InvalidParameterError,
        "bias_std.*to 1e100; got 1e[+]200",
    ),
    "tiny weights": (
        {"weight_std": 1e-200},
        InvalidParameterError,
        "weight_std.*from 1e-100.*got 1e-200",
    ),
    "a sparse matrix": (
        {"X1": csr_array(np.eye(3)), "kind": "mlp"},
        InvalidDataError,
        r"X1.*Pass X1.toarray\(\)",
    ),
    "dtype": ({"dtype": "float16"}, InvalidParameterError, "dtype.*float64, float32"),
    "no images": (
        {"X1": np.ones((3, 8))},
        InvalidDataError,
        r"X1 must have shape \(n, channels, height, width\)",
    ),
    "words": ({"X1": np.array([["a", "b"]])}, InvalidDataError, "real numbers"),
    "half precision": (
        {"X1": torch.ones(3, 1, 5, 4).bfloat16()},
        InvalidDataError,
        "X1 .*bfloat16.*pass a dense one",
    ),
    "no pixels": ({"X1": IMAGES[..., :0]}, InvalidDataError, "at least one sample"),
    "nothing": ({"X1": IMAGES[:0]}, InvalidDataError, "at least one sample"),
    "NaN": ({"X2": np.full_like(OTHERS, np.nan)}, InvalidDataError, "X2 has NaN"),
    "other sizes": (
        {"X2": OTHERS[..., :3]},
        InvalidDataError,
        "samples of X1 have shape .*5, 4.*X2 .*5, 3",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    changes, error, said = BAD[name]
    with pytest.raises(error, match=said):
        infinite_ntk(**{"X1": IMAGES, **CONV, **changes})
