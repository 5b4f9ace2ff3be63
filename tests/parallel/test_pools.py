"""Pools on disk: the same samples as in memory, keys, and samples that cannot be read."""

import functools
import io
import os
import pickle
import re

import joblib
import numpy as np
import pytest
import torch
from common import POOL, X, make_net, trained_net, y
from helpers_parallel import Rows, fitted
from needs import needs
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from skdal import DynamicALSampler
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    TooManyUnreadableError,
    UnreadableSampleError,
)
from skdal.pools import (
    ImageFolderPool,
    MemmapPool,
    ParquetPool,
    RayDataPool,
    SetAside,
    keys_of,
    view,
)
from skdal.samplers import (
    BADGESampler,
    CoresetSampler,
    MarginSampler,
    PoolSubset,
    RandomSampler,
)

pa = needs("pyarrow")
pq = needs("pyarrow.parquet")

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def as_tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.fixture
def folder(tmp_path):
    names = ["b/2.PNG", "a.png", "b/10.png", "c/d/e.png", "b/1.png", "z.png", "b.png"]
    for name, image in zip(names, IMAGES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(image))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path, dict(zip(names, IMAGES))


def test_a_folder_of_images(folder):
    path, images = folder
    pool = ImageFolderPool(path)
    assert pool.keys(range(7)) == [
        "a.png",
        "b/1.png",
        "b/10.png",
        "b/2.PNG",
        "b.png",
        "c/d/e.png",
        "z.png",
    ]
    for i, key in enumerate(pool.keys(range(7))):
        assert torch.equal(pool[i], as_tensor(images[key]))
    assert pool.positions(["z.png", "a.png"]).tolist() == [6, 0]
    assert ImageFolderPool(path, size=4)[0].shape == (3, 4, 4)
    halved = ImageFolderPool(
        path, transform=lambda image: torch.tensor(np.asarray(image)[::2])
    )
    assert halved[0].shape == (3, 8, 3)


def parquet(tmp_path, values, type_=None, ids=None):
    """Write values into two files with row groups of 2; return the folder."""
    for name, rows in (
        ("x/one.parquet", slice(0, 4)),
        ("x/two.parquet", slice(4, None)),
    ):
        columns = {"image": pa.array(values[rows], type=type_)}
        columns |= {} if ids is None else {"id": ids[rows]}
        (tmp_path / "x").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / name, row_group_size=2)
    return tmp_path / "x"


STORED = {
    "bytes": ([png(x) for x in IMAGES], None, {}),
    "struct of bytes": ([{"bytes": png(x), "path": "?"} for x in IMAGES], None, {}),
    "flat numbers": (
        [(as_tensor(x).flatten()).tolist() for x in IMAGES],
        pa.list_(pa.float32()),
        {"shape": (3, 6, 8)},
    ),
    "nested numbers": ([as_tensor(x).tolist() for x in IMAGES], None, {}),
    "fixed size": (
        [as_tensor(x).flatten().tolist() for x in IMAGES],
        pa.list_(pa.float32(), 144),
        {"shape": (3, 6, 8)},
    ),
}


@pytest.mark.parametrize("kind", STORED)
def test_parquet(kind, tmp_path):
    values, type_, how = STORED[kind]
    pool = ParquetPool(
        parquet(tmp_path, values, type_, list("abcdefg")), key="id", **how
    )
    for i in (6, 0, 3, 4, 1, 2, 5):
        torch.testing.assert_close(pool[i], as_tensor(IMAGES[i]), rtol=0, atol=1e-7)
    assert len(pool) == 7
    assert pool.keys([6, 0, 4]) == ["g", "a", "e"]
    assert pool.picture(0).size == (8, 6)
    assert torch.equal(pickle.loads(pickle.dumps(pool))[5], pool[5])


def test_parquet_without_keys(tmp_path):
    path = parquet(tmp_path, [png(x) for x in IMAGES])
    assert ParquetPool(path).keys([0, 3, 4, 6]) == [
        "one.parquet:0",
        "one.parquet:3",
        "two.parquet:0",
        "two.parquet:2",
    ]
    assert ParquetPool(path / "two.parquet").keys([2]) == ["two.parquet:2"]


def test_a_memory_map(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    pool = MemmapPool(tmp_path / "x.npy", transform=as_tensor)
    assert torch.equal(pool[4], as_tensor(IMAGES[4]))
    assert (len(pool), pool.keys([3]), pool.rows.filename) == (
        7,
        [3],
        tmp_path / "x.npy",
    )
    assert MemmapPool(tmp_path / "x.npy", keys=list("abcdefg")).keys([6]) == ["g"]
    assert MemmapPool(tmp_path / "x.npy")[0].dtype == torch.float32
    assert len(pickle.dumps(pool)) < 2000
    assert torch.equal(
        pickle.loads(pickle.dumps(MemmapPool(tmp_path / "x.npy")))[1],
        torch.tensor(IMAGES[1]).float(),
    )


def test_fingerprints_tell_pools_apart(folder):
    path, _ = folder
    found = ImageFolderPool(path).fingerprint()
    assert ImageFolderPool(path).fingerprint() == found
    assert ImageFolderPool(path, size=4).fingerprint() != found
    (path / "a.png").write_bytes(png(IMAGES[3]))
    assert ImageFolderPool(path).fingerprint() != found


def times(row, k):
    return torch.as_tensor(row * k)


class Times:
    def __init__(self, k):
        self.k = k

    def __call__(self, row):
        return torch.as_tensor(row * self.k)


TRANSFORMS = {
    "partials": [
        lambda: functools.partial(times, k=1),
        lambda: functools.partial(times, k=3),
    ],
    "lambdas": [
        lambda: lambda row: torch.as_tensor(row),
        lambda: lambda row: torch.as_tensor(row * 3),
    ],
    "objects": [lambda: Times(1), lambda: Times(3)],
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_fingerprints_tell_transforms_apart(kind, folder):
    path, _ = folder
    np.save(path / "x.npy", IMAGES)
    pools = [
        (ImageFolderPool, path),
        (MemmapPool, path / "x.npy"),
        (ParquetPool, parquet(path, [png(x) for x in IMAGES])),
    ]
    for pool, file in pools:
        first, again, other = (
            pool(file, transform=TRANSFORMS[kind][i]()).fingerprint() for i in (0, 0, 1)
        )
        assert joblib.hash(first) == joblib.hash(again) != joblib.hash(other)


def test_fingerprints_of_what_is_lost(folder):
    path, _ = folder
    table = parquet(path, [png(x) for x in IMAGES])
    os.symlink("nowhere.png", path / "broken.png")
    os.close(os.open(os.fsencode(path) + b"/\xff.png", os.O_CREAT))
    for pool, lost in (
        (ImageFolderPool(path), "a.png"),
        (ParquetPool(table), "x/two.parquet"),
    ):
        whole = pool.fingerprint()
        (path / lost).unlink()
        assert pool.fingerprint() != whole


def test_links_are_followed_but_not_in_circles(folder):
    path, _ = folder
    names = ImageFolderPool(path).keys(range(7))
    os.symlink(".", path / "circle")
    os.symlink("..", path / "c/up")
    os.symlink("itself", path / "itself")
    os.symlink("c", path / "linked")
    assert ImageFolderPool(path).keys(range(8)) == [
        *names[:6],
        "linked/d/e.png",
        "z.png",
    ]


def test_keys_through_subsets():
    pool = Rows(POOL)
    parts = ConcatDataset(
        [Subset(pool, [5, 7, 9]), Subset(Subset(pool, [20, 30]), [1])]
    )
    assert keys_of(parts, [3, 0, 2]) == ["row-030", "row-005", "row-009"]
    with pytest.raises(
        InvalidDataError, match="has no keys; use a pool of skdal.pools"
    ):
        keys_of(POOL, [0])
    sampler = fitted(MarginSampler(), trained_net(), X, y)
    assert sampler.query_keys(pool, 3) == [
        f"row-{i:03d}" for i in sampler.query(pool, 3)
    ]
    with pytest.raises(InvalidDataError, match="has no keys"):
        sampler.query_keys(POOL, 3)


class Photos(Rows):
    """Rows that say what they are, and in which some may be unreadable."""

    unit = "photos"

    def __init__(self, X, share):
        super().__init__(X)
        self.max_unreadable = share


PHOTOS, PLAIN = Photos(POOL, 0.2), TensorDataset(torch.zeros(3, 2))
# a pool, its keys at 0 and at its end (None: it has none), its unit, its share that may be
# unreadable
VIEWS = [
    (POOL, None, "samples", None),
    (PLAIN, None, "samples", None),
    (PHOTOS, ["row-000", "row-040"], "photos", 0.2),
    (SetAside(PHOTOS), ["row-000", "row-040"], "photos", 0.2),
    (Subset(SetAside(PHOTOS), [5, 7]), ["row-005", "row-007"], "photos", 0.2),
    (SetAside(Subset(PHOTOS, [5, 7])), ["row-005", "row-007"], "photos", 0.2),
    (
        ConcatDataset([Subset(PHOTOS, [5, 7]), Photos(POOL, 0.4)]),
        ["row-005", "row-040"],
        "photos",
        0.4,
    ),
    (SetAside(ConcatDataset([PHOTOS, PLAIN])), None, "samples", 0.2),
]


@pytest.mark.parametrize("pool, keys, unit, share", VIEWS)
def test_what_a_pool_says_of_itself(pool, keys, unit, share):
    seen = view(pool)
    assert (seen.has_keys, seen.unit, seen.max_unreadable) == (bool(keys), unit, share)
    ends = np.array([0, len(pool) - 1])
    if keys:
        assert seen.keys(ends) == keys
        return
    with pytest.raises(InvalidDataError, match="(ndarray|TensorDataset) has no keys"):
        seen.keys(ends[:0])


def test_each_part_of_a_pool_is_asked_for_keys_once():
    asked = []

    class Asked(Rows):
        def keys(self, positions):
            asked.append(len(positions))
            return super().keys(positions)

    pool = ConcatDataset([Asked(POOL), Asked(POOL)])
    picked = keys_of(pool, [41, 0, 81, 40])
    assert picked == ["row-000", "row-000", "row-040", "row-040"]
    assert asked == [2, 2]


class Costly(list):
    """Indices that may be taken one by one only."""

    def __iter__(self):
        raise AssertionError("all indices were gone through")

    __array__ = __iter__


def test_keys_of_a_subset_are_not_asked_of_all_its_rows():
    part = Subset(Rows(POOL), Costly(range(1, 41)))
    assert keys_of(part, [0, 39]) == ["row-001", "row-040"]
    assert SetAside(part).unreadable() == []
    assert keys_of(Subset(Rows(POOL), np.arange(1, 41)), [0, 39]) == [
        "row-001",
        "row-040",
    ]


# --- samples that cannot be read
# ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", [lambda data: data[:60], lambda data: b"", lambda data: b"hello", None]
)
def test_damaged_images(folder, damage):
    path, _ = folder
    file = path / "b/1.png"
    file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
    pool = ImageFolderPool(path) if damage else ImageFolderPool.__new__(ImageFolderPool)
    if damage is None:  # a file that is gone after the folder was listed
        file.write_bytes(png(IMAGES[0]))
        pool = ImageFolderPool(path)
        file.unlink()
    with pytest.raises(UnreadableSampleError, match=r"b/1\.png"):
        pool[1]
    assert pool[0].shape == (3, 6, 8)


def test_damaged_parquet(tmp_path):
    values = [png(x) for x in IMAGES]
    values[2], values[3] = None, values[3][:60]
    path = parquet(tmp_path, values)
    file = path / "two.parquet"
    data = bytearray(file.read_bytes())
    data[8:40] = b"\0" * 32  # in its first row group
    file.write_bytes(data)
    pool = SetAside(ParquetPool(path))
    for i in range(7):
        assert pool[i].shape == (3, 6, 8)
    assert [x.key for x in pool.unreadable()] == [
        "one.parquet:2",
        "one.parquet:3",
        "two.parquet:0",
        "two.parquet:1",
    ]
    assert "empty" in pool.unreadable()[0].reason


def test_a_parquet_file_that_is_gone_and_back(tmp_path):
    path = parquet(tmp_path, [png(x) for x in IMAGES], ids=list("abcdefg"))
    pool = ParquetPool(path, key="id")
    (path / "two.parquet").rename(tmp_path / "kept")
    aside = SetAside(pool)
    assert all(aside[i].shape == (3, 6, 8) for i in range(7))
    assert [x.key for x in aside.unreadable()] == [
        "two.parquet:0",
        "two.parquet:1",
        "two.parquet:2",
    ]
    assert pool.keys([3, 4]) == ["d", "two.parquet:0"]
    (tmp_path / "kept").rename(path / "two.parquet")
    assert (pool[4].shape, pool.keys([4])) == ((3, 6, 8), ["e"])


def test_a_parquet_file_that_was_replaced(tmp_path):
    pool = ParquetPool(parquet(tmp_path, [png(x) for x in IMAGES]))
    for table in ({"image": [png(IMAGES[0])]}, {"id": [1, 2]}):
        pq.write_table(pa.table(table), tmp_path / "x/one.parquet")
        with pytest.raises(UnreadableSampleError, match="another file"):
            pool[1]


@pytest.mark.parametrize("error", [TypeError, MemoryError, KeyError])
def test_what_is_no_damage_is_raised(error, tmp_path, monkeypatch):
    pool = ParquetPool(parquet(tmp_path, [png(x) for x in IMAGES]))

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", fail)
    with pytest.raises(error):
        pool[0]


def test_a_null_in_numbers(tmp_path):
    rows = [
        [[1.0, 2.0], [3.0, None]],
        [[1.0, 2.0], [3.0, float("nan")]],
        [[1.0, 2.0], None],
    ]
    pool = ParquetPool(parquet(tmp_path, rows))
    for i in (0, 2):
        with pytest.raises(
            UnreadableSampleError, match=rf"one.parquet:{i}: .*(null|sequence)"
        ):
            pool[i]
    assert pool[1].isnan().sum() == 1


GRAY = np.arange(0, 65536, 4369, dtype=np.uint16).reshape(4, 4)  # 257 * 17 * (0 ... 15)


@pytest.mark.parametrize("size", [None, 4])
def test_images_of_16_bits(size, tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    Image.fromarray(GRAY).save(tmp_path / "b.tif")
    (tmp_path / "c.pgm").write_bytes(b"P5 4 4 65535\n" + GRAY.astype(">u2").tobytes())
    pool = ImageFolderPool(tmp_path, size)
    for i in range(3):
        assert (pool[i][0] * 255).round().int().ravel().tolist() == list(
            range(0, 256, 17)
        )
        assert np.array_equal(
            np.asarray(pool.picture(i))[..., 2].ravel(), np.arange(0, 256, 17)
        )


DAMAGED = [0, 7, 8, 40]
SAMPLERS = [
    DynamicALSampler(batch_size=8),
    DynamicALSampler(batch_size=8, interaction=-1.0, update_size=3),
    DynamicALSampler(batch_size=8, interaction=-1.0, update_size=3, n_candidates=20),
    MarginSampler(),
    CoresetSampler(),
    CoresetSampler(n_candidates=20),
    BADGESampler(random_state=0),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_query_goes_on_without_them(sampler):
    fitted(sampler, trained_net(), X, y)
    kept = np.delete(np.arange(41), DAMAGED)
    wanted, scores = sampler.query(POOL[kept], 9, return_scores=True)
    found, found_scores = sampler.query(Rows(POOL, DAMAGED), 9, return_scores=True)
    assert found.tolist() == kept[wanted].tolist()
    assert np.allclose(found_scores, scores, rtol=1e-10)
    assert [tuple(x) for x in sampler.unreadable_] == [
        (i, f"row-{i:03d}", f"row {i} is damaged") for i in DAMAGED
    ]
    sampler.query(POOL, 3)
    assert sampler.unreadable_ == []


def test_through_a_subset_positions_are_those_of_the_pool():
    sampler = fitted(
        PoolSubset(sampler=MarginSampler(), subset_size=30, random_state=0),
        trained_net(),
        X,
        y,
    )
    sampler.query(Rows(POOL, DAMAGED), 3)
    assert {x.position for x in sampler.unreadable_} == set(DAMAGED) & set(
        sampler.seen_.tolist()
    )


@pytest.mark.slow
def test_loader_processes_tell_what_they_set_aside():
    net = trained_net(iterator_valid__num_workers=2)
    sampler = fitted(DynamicALSampler(batch_size=8), net, X, y)
    sampler.query(Rows(POOL, DAMAGED), 3)
    assert [x.position for x in sampler.unreadable_] == DAMAGED


def test_too_many():
    pool = Rows(POOL, range(10))
    pool.max_unreadable = 0.2
    sampler = fitted(MarginSampler(), trained_net(), X, y)
    with pytest.raises(
        TooManyUnreadableError,
        match=r"10 of 41 samples.*max_unreadable=0.2.*row .* is damaged",
    ):
        sampler.query(pool, 3)
    pool.max_unreadable = 1.0
    pool.damaged = set(range(40))
    with pytest.raises(
        InvalidDataError,
        match="1 of 41 samples of the pool can be read, and 2 are asked for",
    ):
        sampler.query(pool, 2)
    assert sampler.query(pool, 1).tolist() == [40]
    pool.damaged = set(range(41))
    with pytest.raises(
        UnreadableSampleError,
        match="not one of the 41 samples can be read, such as: row .* is damaged",
    ):
        sampler.query(pool, 1)


def test_random_sampling_reads_none_but_the_first():
    pool = Rows(POOL, range(1, 41))
    pool.max_unreadable = 1.0
    assert (
        len(fitted(RandomSampler(random_state=0), trained_net(), X, y).query(pool, 41))
        == 41
    )


# --- what is refused
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda p: ImageFolderPool(p / "none"), InvalidDataError, "there is no folder"),
        (lambda p: ImageFolderPool(p), InvalidDataError, "holds no images"),
        (
            lambda p: ImageFolderPool(p, transform=3),
            InvalidParameterError,
            "transform must be None or callable",
        ),
        (
            lambda p: ImageFolderPool(p, max_unreadable=2),
            InvalidParameterError,
            "from 0 to 1; got 2",
        ),
        (
            lambda p: ParquetPool(p / "none.parquet"),
            InvalidDataError,
            "no Parquet file",
        ),
        (
            lambda p: ParquetPool(p / "x.parquet"),
            InvalidDataError,
            "cannot be read as Parquet",
        ),
        (
            lambda p: ParquetPool(p / "y.parquet", "pixels"),
            InvalidDataError,
            r"no column \['pixels'\]; it has \['image'\]",
        ),
        (
            lambda p: MemmapPool(p / "x.npy"),
            InvalidDataError,
            "cannot be memory-mapped",
        ),
        (
            lambda p: MemmapPool(p / "y.npy", keys=["a"]),
            InvalidDataError,
            "3 rows, and there are 1 keys",
        ),
        (
            lambda p: MemmapPool(p / "y.npy").positions([1, 7]),
            InvalidDataError,
            r"1 of 2 keys are not in the pool, such as \['7'\]",
        ),
    ],
)
def test_refused(make, error, words, tmp_path):
    (tmp_path / "x.parquet").write_text("no table")
    (tmp_path / "x.npy").write_text("no array")
    np.save(tmp_path / "y.npy", np.zeros((3, 2)))
    pq.write_table(pa.table({"image": [b"?"]}), tmp_path / "y.parquet")
    with pytest.raises(error, match=words):
        make(tmp_path)


ARRAYS = [
    (np.array(3.0), "shape ()"),
    (np.zeros((0, 4)), "shape (0, 4)"),
    (np.zeros((4, 0)), "shape (4, 0)"),
    (np.zeros((3, 2), complex), "complex128"),
    (np.zeros((3, 2), np.longdouble), "float128"),
    (np.zeros(3, [("a", "f4")]), "('a', '<f4')"),
    (np.array([[1, None]], object), "Python objects"),
    (np.array([["a", "b"]]), "<U1"),
]


@pytest.mark.parametrize(
    "array, words", ARRAYS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_arrays_refused(array, words, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InvalidDataError, match="x.npy.*" + re.escape(words)):
        MemmapPool(tmp_path / "x.npy")


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i2", "bool", "f2"])
def test_arrays_of_other_types(dtype, tmp_path):
    rows = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    np.save(tmp_path / "x.npy", rows)
    assert MemmapPool(tmp_path / "x.npy")[1].tolist() == rows[1].astype(float).tolist()
    assert (
        MemmapPool(tmp_path / "x.npy", transform=torch.from_numpy)[1].tolist()
        == rows[1].tolist()
    )


def test_an_archive_is_no_array(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros((3, 2)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(InvalidDataError, match="cannot be memory-mapped"):
        MemmapPool(tmp_path / "x.npy")


def test_samples_of_different_sizes(folder):
    path, _ = folder
    odd = png(IMAGES[0][:4])
    table = parquet(path, [*map(png, IMAGES[:4]), odd])
    (path / "c/d/e.png").write_bytes(odd)
    cases = [
        (ImageFolderPool, path, 5, r"a.png.* \(3, 6, 8\).*c/d/e.png.* \(3, 4, 8\)"),
        (
            ParquetPool,
            table,
            4,
            r"one.parquet:0.* \(3, 6, 8\).*two.parquet:0.* \(3, 4, 8\)",
        ),
    ]
    for kind, file, i, words in cases:
        pool = kind(file)
        assert pool[0].shape == pool[1].shape
        with pytest.raises(InvalidDataError, match=words + ".*--size.*transform"):
            SetAside(pool)[i]
        assert kind(file, transform=lambda image: torch.tensor(image.size))[
            i
        ].tolist() == [8, 4]
        assert kind(file, size=4)[i].shape == kind(file, size=4)[0].shape


def test_numbers_of_different_lengths(tmp_path):
    pool = ParquetPool(parquet(tmp_path, [[1.0, 2.0], [1.0]]))
    pool[0]
    with pytest.raises(InvalidDataError, match=r"\(2,\).*\(1,\)"):
        pool[1]


# --- on Ray ---------------------------------------------------------------------------------------
# ----------------


@pytest.mark.slow
def test_workers_read_images_as_told(two_workers, tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    for i in range(20):
        values = np.random.default_rng(i).integers(0, 4096, (2, 2), dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / f"{i:02d}.png", exif=exif)
    pool = ImageFolderPool(tmp_path, exif=True, depth=12)
    net = make_net(
        lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    )
    images = torch.stack([pool[i] for i in range(20)])
    net.fit(images, np.arange(20) % 3)
    there = fitted(MarginSampler(executor=two_workers), net, images, np.arange(20) % 3)
    here = fitted(MarginSampler(), net, images, np.arange(20) % 3)
    np.testing.assert_allclose(
        there.score_samples(pool), here.score_samples(images), rtol=1e-6
    )


# --- datasets of Ray Data
# -----------------------------------------------------------------------------------------


@pytest.fixture
def ray_data(cluster):
    data = needs("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    return data


@pytest.mark.slow
def test_datasets_are_told_apart(ray_data):
    def digest(rows, cut=5, **how):
        tables = [
            pa.table({"x": [row.tolist() for row in part]})
            for part in (rows[:cut], rows[cut:])
        ]
        return joblib.hash(
            RayDataPool(ray_data.from_arrow(tables), "x", **how).fingerprint()
        )

    swapped = POOL[[40, *range(1, 40), 0]]
    others = [
        digest(POOL * 2),
        digest(POOL[:40]),
        digest(POOL.astype(np.float32)),
        digest(swapped),
    ]
    others.append(digest(POOL, transform=Times(2)))
    assert digest(POOL) == digest(POOL.copy())
    assert len({digest(POOL), *others}) == 6


@pytest.mark.slow
def test_read_images_with_a_damaged_one(ray_data, folder):
    path, _ = folder
    (path / "a.png").write_bytes(png(IMAGES[0])[:60])
    images = str(path / "b.png"), str(path / "a.png")
    with pytest.raises(InvalidDataError, match="(?s)read_binary_files.*column=.bytes"):
        RayDataPool(ray_data.read_images(list(images)))
    pool = RayDataPool(
        ray_data.read_binary_files(list(images), include_paths=True), "bytes", "path"
    )
    aside = SetAside(pool)
    assert [tuple(aside[i].shape) for i in range(2)] == [(3, 6, 8)] * 2
    assert [x.key for x in aside.unreadable()] == [images[1]]


@pytest.mark.slow
def test_blocks_that_are_lost_are_not_called_unreadable(ray_data, monkeypatch):
    import ray

    pool = RayDataPool(
        ray_data.from_arrow([pa.table({"x": [[1.0]], "id": ["a"]})]), "x", "id"
    )

    def lose(*args, **kwargs):
        raise ray.exceptions.GetTimeoutError("lost")  # an OSError, as damaged data give

    monkeypatch.setattr(ray, "get", lose)
    for ask in (lambda: pool[0], lambda: pool.keys([0])):
        with pytest.raises(ray.exceptions.RayError):
            ask()
