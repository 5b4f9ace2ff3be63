"""Data sets: what an item is, splits, imbalance, people's own files, and what is missing. Nothing
is downloaded."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from skdal.datasets import (
    DATASETS,
    Batches,
    ImageData,
    Images,
    _registry,
    imbalanced,
    load_dataset,
    load_folder,
    load_npz,
    profile,
    split_by_class,
)
from skdal.exceptions import InvalidDataError, InvalidParameterError

RNG = np.random.default_rng(0)


def eight_bit(n=6, size=5, channels=3):
    return RNG.integers(0, 256, (n, size, size, channels), dtype=np.uint8)


# --- items ----------------------------------------------------------------------------------------


def test_an_item():
    images = eight_bit()
    x, label = Images(images, [3, 1, 4, 1, 5, 2])[2]
    assert x.dtype == torch.float32
    assert label == 4
    np.testing.assert_allclose(x.numpy(), images[2].transpose(2, 0, 1) / 255, rtol=1e-6)


def test_an_item_is_normalized():
    images = eight_bit()
    x, _ = Images(images, range(6), mean=[0.1, 0.2, 0.3], std=[1, 2, 4])[0]
    expected = (
        images[0].transpose(2, 0, 1) / 255 - np.array([0.1, 0.2, 0.3])[:, None, None]
    ) / [[[1]], [[2]], [[4]]]
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5)


def test_floating_point_images_stay_as_they_are():
    images = RNG.normal(size=(3, 2, 2, 1))
    np.testing.assert_allclose(
        Images(images, range(3))[1][0].numpy(), images[1].transpose(2, 0, 1), rtol=1e-6
    )


def test_the_images_are_not_copied():
    images = eight_bit(1000)
    part = Images(images, np.zeros(1000, int)).take(np.arange(0, 1000, 2)).take([1, 3])
    assert part.images is images
    assert len(part) == 2
    assert torch.equal(part[1][0], Images(images, np.zeros(1000, int))[6][0])


def test_only_training_is_augmented():
    data = Images(eight_bit(), range(6))
    training = data.augmented(lambda x: x.flip(2))
    assert torch.equal(training[0][0], data[0][0].flip(2))
    assert torch.equal(training.augmented(None)[0][0], data[0][0])


@pytest.mark.parametrize("augment", [None, lambda x: x.flip(2)])
def test_items_of_a_mini_batch(augment):
    data = Images(
        eight_bit(), range(6), mean=[0.1, 0.2, 0.3], std=[1, 2, 4], augment=augment
    )
    items = data.__getitems__([4, 0, 4])
    assert [label for _, label in items] == [4, 0, 4]
    assert all(torch.equal(x, data[i][0]) for (x, _), i in zip(items, [4, 0, 4]))
    x, y = next(iter(DataLoader(data, batch_size=4)))
    assert torch.equal(x, torch.stack([data[i][0] for i in range(4)]))
    assert y.tolist() == [0, 1, 2, 3]


def test_loading_does_not_change_the_images():
    images = eight_bit()
    before = images.copy()
    x, y = next(
        iter(
            DataLoader(
                Images(images, range(6), mean=[1, 1, 1], std=[2, 2, 2]), batch_size=6
            )
        )
    )
    assert x.shape == (6, 3, 5, 5)
    assert y.tolist() == list(range(6))
    assert np.array_equal(images, before)
    pickle.loads(pickle.dumps(Images(images, range(6))))


@pytest.mark.parametrize(
    "images, labels, words",
    [
        (
            np.zeros((3, 4, 4), "uint8"),
            [0] * 3,
            r"\(n, height, width, channels\).*got \(3, 4, 4\)",
        ),
        (np.zeros((3, 4, 4, 1), "uint8"), [0] * 2, r"got \(3, 4, 4, 1\) and \(2,\)"),
        (
            np.zeros((3, 4, 4, 1), "int64"),
            [0] * 3,
            "uint8 or floating-point numbers; got int64. Divide them",
        ),
    ],
)
def test_wrong_images(images, labels, words):
    with pytest.raises(InvalidDataError, match=words):
        Images(images, labels)


# --- splits and imbalance -------------------------------------------------------------------------


def test_digits():
    data = load_dataset("digits")
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.train.images.dtype == np.uint8
    assert data.class_names == tuple("0123456789")
    whole = np.stack([data.train[i][0].numpy() for i in range(len(data.train))])
    assert abs(whole.mean()) < 1e-4
    assert abs(whole.std() - 1) < 1e-4


def test_a_fifth_of_each_class_is_test():
    labels = RNG.integers(0, 7, 1000)
    images = np.arange(1000)[:, None, None, None].astype("float32")
    (train, y_train), (test, y_test) = split_by_class(images, labels, 0.2)
    assert sorted(np.concatenate([train, test]).ravel().tolist()) == list(range(1000))
    assert np.bincount(y_test).tolist() == [round(0.2 * n) for n in np.bincount(labels)]
    assert np.array_equal(labels[test.ravel().astype(int)], y_test)
    again = split_by_class(images, labels, 0.2)
    assert np.array_equal(again[1][0], test)


def test_cifar10_at_ratio_100_has_12_406_images():
    assert profile([5000] * 10, 100).sum() == 12_406
    assert profile([5000] * 10, 100)[[0, 9]].tolist() == [5000, 50]


def test_the_profile_fits_classes_of_any_size():
    counts = np.array([90, 100, 40, 70])
    kept = profile(counts, 8)
    assert (kept <= counts).all()
    assert (kept == counts).any()
    assert kept.tolist() == [int(kept[0] * 8 ** (-c / 3)) for c in range(4)]


def test_imbalanced():
    data = load_dataset("digits")
    part = imbalanced(data, 10, seed=1)
    counts = np.bincount(part.train.targets)
    assert counts.tolist() == profile(np.bincount(data.train.targets), 10).tolist()
    assert part.test is data.test
    assert np.array_equal(
        imbalanced(data, 10, seed=1).train.targets, part.train.targets
    )


@pytest.mark.parametrize(
    "ratio, words",
    [(0.5, "at least 1; got 0.5"), (float("nan"), "got nan"), (1e6, "smaller ratio")],
)
def test_wrong_ratios(ratio, words):
    with pytest.raises(InvalidParameterError, match=words):
        imbalanced(load_dataset("digits"), ratio)


# --- torchvision's --------------------------------------------------------------------------------


class Fake:
    """Holds data as torchvision's class does."""

    def __init__(self, root, train=None, split=None, download=False):
        n = 8 if train or split == "train" else 4
        self.data, self.targets = eight_bit(n, 4), list(range(4)) * (n // 4)
        self.classes = ["a", "b", "c", "d"]


class FakeSVHN(Fake):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data, self.labels = self.data.transpose(0, 3, 1, 2), np.array(self.targets)
        del self.targets, self.classes


class FakeGrey(Fake):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.data, self.targets = (
            torch.as_tensor(self.data[..., 0]),
            torch.tensor(self.targets),
        )


@pytest.mark.parametrize(
    "fake, shape", [(Fake, (3, 4, 4)), (FakeSVHN, (3, 4, 4)), (FakeGrey, (1, 4, 4))]
)
def test_torchvision_s_layouts(fake, shape):
    data = _registry._torchvision(
        fake,
        _registry._BY_FLAG if fake is not FakeSVHN else _registry._BY_NAME,
        "x",
        download=False,
    )
    assert isinstance(data, ImageData)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert data.train[3][0].shape == shape
    assert data.train.targets.tolist() == [0, 1, 2, 3] * 2
    assert len(data.class_names) == 4


class FakeCaltech:
    def __init__(self, root, download=False):
        self.categories = ["BACKGROUND_Google", "Faces", "Leopards"]
        self.y = [0] * 3 + [1] * 10 + [2] * 5

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return Image.fromarray(np.full((80, 100, 3), i, dtype=np.uint8)).convert(
            "L" if i % 2 else "RGB"
        ), self.y[i]


def test_caltech101(monkeypatch):
    monkeypatch.setattr(_registry.datasets, "Caltech101", FakeCaltech)
    data = load_dataset("caltech101")
    assert data.class_names == ("Faces", "Leopards")
    assert np.bincount(data.test.targets).tolist() == [2, 1]
    assert np.bincount(data.train.targets).tolist() == [8, 4]
    assert data.train.images.shape[1:] == (64, 64, 3)
    assert 0 not in data.train.images  # none of the background


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_missing_data_are_not_fetched(name, tmp_path):
    with pytest.raises(InvalidDataError, match="(?s)download=True.*root"):
        load_dataset(name, tmp_path)


# --- own files ------------------------------------------------------------------------------------


def save(path, **changes):
    parts = {
        "X_train": eight_bit(8),
        "y_train": np.arange(8) % 3,
        "X_test": eight_bit(4),
        "y_test": np.arange(4) % 3,
    }
    np.savez(
        path,
        **{
            name: value
            for name, value in {**parts, **changes}.items()
            if value is not None
        },
    )
    return parts


@pytest.mark.parametrize("names", [None, np.array(["x", "y", "z"])])
def test_npz(tmp_path, names):
    parts = save(tmp_path / "own.npz", class_names=names)
    data = load_dataset(str(tmp_path / "own.npz"))
    assert np.array_equal(data.train.images, parts["X_train"])
    assert data.test.targets.tolist() == [0, 1, 2, 0]
    assert data.class_names == (("0", "1", "2") if names is None else ("x", "y", "z"))


def test_npz_without_channels(tmp_path):
    save(
        tmp_path / "own.npz", X_train=eight_bit(8)[..., 0], X_test=eight_bit(4)[..., 0]
    )
    assert load_npz(tmp_path / "own.npz").train[0][0].shape == (1, 5, 5)


def test_folders(tmp_path):
    for part, n in (("train", 3), ("test", 2)):
        for c, name in enumerate(("cat", "dog")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(np.full((40, 70, 3), 50 * c + i, dtype=np.uint8)).save(
                    folder / f"{i}.png"
                )
    data = load_dataset(str(tmp_path))
    assert (len(data.train), len(data.test), data.class_names) == (6, 4, ("cat", "dog"))
    assert data.train[0][0].shape == (3, 64, 64)
    assert sorted(data.train.images[:, 0, 0, 0].tolist()) == [0, 1, 2, 50, 51, 52]
    assert load_folder(tmp_path, size=16).test.images.shape == (4, 16, 16, 3)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(
        InvalidDataError, match="no file .*nope.npz.*X_train, y_train, X_test, y_test"
    ):
        load_dataset(str(tmp_path / "nope.npz"))
    save(tmp_path / "own.npz", y_test=None)
    with pytest.raises(InvalidDataError, match="lacks y_test; it holds"):
        load_npz(tmp_path / "own.npz")
    (tmp_path / "train").mkdir()
    with pytest.raises(InvalidDataError, match="no folder .*test"):
        load_folder(tmp_path)
    with pytest.raises(
        InvalidParameterError,
        match="did you mean 'cifar10'.*one of cifar10, cifar100, svhn",
    ):
        load_dataset("cifar-10")


# --- mini-batches made ahead ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_batches_are_those_of_a_data_loader(batch_size):
    data = Images(eight_bit(), range(6), mean=[0.1, 0.2, 0.3], std=[1, 2, 4]).take(
        [4, 0, 2, 5, 1, 3]
    )
    found, expected = (
        list(Batches(data, batch_size)),
        list(DataLoader(data, batch_size)),
    )
    assert len(found) == len(Batches(data, batch_size)) == len(expected)
    for (x, y), (x_expected, y_expected) in zip(found, expected):
        assert torch.equal(x, x_expected)
        assert torch.equal(y, y_expected)
    assert found[0][0].is_contiguous(memory_format=torch.channels_last)


def test_shuffled_batches_depend_on_the_global_seed_alone():
    data = Images(eight_bit(20), range(20))

    def labels(seed):
        torch.manual_seed(seed)
        return torch.cat([y for _, y in Batches(data, 3, shuffle=True)]).tolist()

    assert labels(0) == labels(0) != labels(1)
    assert sorted(labels(0)) == list(range(20))


def test_batches_that_are_not_used_up_leave_no_thread():
    import threading

    before = threading.active_count()
    batches = iter(Batches(Images(eight_bit(20), range(20)), 2))
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_an_error_in_the_thread_is_raised():
    def fail(x):
        raise RuntimeError("augmenting failed")

    with pytest.raises(RuntimeError, match="augmenting failed"):
        list(Batches(Images(eight_bit(), range(6)).augmented(fail), 2))


def test_no_batches_of_no_images():
    assert list(Batches(Images(eight_bit(), range(6)).take([]), 2)) == []


def test_unlabeled_images():
    data = Images(eight_bit(), range(6))
    assert torch.equal(data.unlabeled()[3], data[3][0])
    assert torch.equal(
        next(iter(DataLoader(data.unlabeled(), 4))), next(iter(DataLoader(data, 4)))[0]
    )
    assert data[3][1] == 3


def test_paths_may_start_at_the_root(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    np.savez(
        tmp_path / "here" / "mine.npz",
        X_train=eight_bit(),
        y_train=range(6),
        X_test=eight_bit(),
        y_test=range(6),
    )
    assert len(load_dataset("mine.npz", tmp_path / "here").train) == 6
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("here/mine.npz", "elsewhere").train) == 6
    with pytest.raises(InvalidDataError, match="there is no file mine.npz"):
        load_dataset("mine.npz", "elsewhere")


def test_a_last_sample_alone_joins_the_batch_before_it_in_training():
    data = Images(eight_bit(9), range(9))
    assert [len(y) for _, y in Batches(data, 4, shuffle=True)] == [4, 5]
    assert len(Batches(data, 4, shuffle=True)) == 2
    assert [len(y) for _, y in Batches(data, 4)] == [4, 4, 1]
    assert [len(y) for _, y in Batches(data, 9, shuffle=True)] == [9]
    assert [len(y) for _, y in Batches(data.take([0]), 4, shuffle=True)] == [1]


SOUND = {
    "X_train": eight_bit(),
    "y_train": np.arange(6) % 3,
    "X_test": eight_bit(),
    "y_test": np.arange(6) % 3,
}
UNSOUND = {
    "float labels": (
        {"y_train": np.arange(6) % 3 + 0.7},
        "y_train .* must be integers",
    ),
    "names as labels": (
        {"y_test": np.array(list("abcabc"))},
        "y_test .* must be integers",
    ),
    "negative labels": (
        {"y_train": np.arange(6) - 1},
        "train labels must be from 0 to 4.*got -1 to 4",
    ),
    "fewer names than classes": (
        {"class_names": ["a", "b"]},
        "labels must be from 0 to 1",
    ),
    "one class": (
        {"y_train": np.zeros(6, int), "y_test": np.zeros(6, int)},
        "at least two classes",
    ),
    "no test images": (
        {"X_test": eight_bit(0), "y_test": np.zeros(0, int)},
        "y_test .* at least one",
    ),
    "other sizes": (
        {"X_test": eight_bit(size=6)},
        r"train images have shape \(5, 5, 3\), and test images \(6, 6, 3\)",
    ),
    "NaN": (
        {
            "X_train": np.where(np.arange(6) == 2, np.nan, 1.0)[:, None, None]
            * np.ones((6, 5, 5))
        },
        "1 of 6 train",
    ),
    "channels first": (
        {"X_test": np.zeros((4, 3, 8, 8), dtype=np.uint8)},
        "X_test has shape .*Store X_test.transp",
    ),
    "objects": (
        {"X_train": np.array([{}, 1], dtype=object)},
        "cannot be read as an .npz file of plain arrays",
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_files_are_refused(tmp_path, name):
    parts, said = UNSOUND[name]
    np.savez(tmp_path / "mine.npz", **(SOUND | parts))
    with pytest.raises(InvalidDataError, match=said):
        load_npz(tmp_path / "mine.npz")


def test_a_file_that_is_no_npz_is_named(tmp_path):
    (tmp_path / "mine.npz").write_text("hello")
    with pytest.raises(InvalidDataError, match=r"mine\.npz cannot be read"):
        load_npz(tmp_path / "mine.npz")


def test_folders_of_images_have_a_size(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            Image.fromarray(eight_bit(1, 40)[0]).save(
                tmp_path / "photos" / part / name / "1.png"
            )
    assert load_dataset("photos", tmp_path).train[0][0].shape == (3, 64, 64)
    assert load_dataset("photos@32", tmp_path).train[0][0].shape == (3, 32, 32)
    (tmp_path / "photos" / "train" / "cat" / "1.png").unlink()
    with pytest.raises(InvalidDataError, match="cat"):
        load_dataset("photos", tmp_path)
