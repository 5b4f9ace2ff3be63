"""`skdal score`: from a checkpoint, labels and a folder of images to a list of picks."""

import csv
import os
import pickle
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import needs
from PIL import Image
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from skdal import DynamicALSampler
from skdal.cli import main, sampler_params_of
from skdal.cli.score import load_net, open_pool, score, unlabeled
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    UnreadableSampleError,
)
from skdal.pools import ImageFolderPool
from skdal.samplers import SAMPLERS, DeltaWork

ROOT = str(Path(__file__).resolve().parent.parent)
MODULE = """
import torch
from skorch import NeuralNetClassifier
from torch import nn

def make_net():
    torch.manual_seed(1)
    pooling = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *pooling, nn.Linear(4, 3))
    return NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0)

def as_tensor(image):
    return torch.as_tensor(__import__("numpy").array(image)).permute(2, 0, 1).float() / 100

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module, weights, labels and a pool of 40 images, two of them damaged; the
    working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "factories", raising=False)
    (tmp_path / "factories.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for i in range(40):
        file = tmp_path / "pool" / "ab"[i % 2] / f"{i:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10 + i % 3, 12, 3), dtype=np.uint8)).save(
            file
        )
    for name in ("a/38.png", "b/39.png"):
        (tmp_path / "pool" / name).write_bytes(b"no image")
    labels = "".join(f"{'ab'[i % 2]}/{i:02d}.png,{i % 3}\n" for i in range(9))
    (tmp_path / "labels.csv").write_text(f"key,label\n{labels}")
    sys.path.insert(0, str(tmp_path))
    import factories

    torch.manual_seed(2)
    net = factories.make_net().initialize()
    with torch.no_grad():
        net.module_[0].weight.mul_(3)
    torch.save(net.module_.state_dict(), "net.pt")
    return tmp_path


CALL = {
    "--net": "net.pt",
    "--net-factory": "factories:make_net",
    "--labeled": "labels.csv",
    "--pool": "pool",
    "-n": "6",
    "--size": "8",
    "--max-unreadable": "0.1",
    "--out": "picks.csv",
}


def words(**changes):
    call = dict(CALL)
    for name, value in changes.items():
        call["-n" if name == "n" else "--" + name.replace("_", "-")] = value
    return [
        "score",
        "--quiet",
        *(word for pair in call.items() if pair[1] is not None for word in pair),
    ]


def rows_of(file):
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_bar_counts_images(folder, capsys):
    assert main([word for word in words() if word != "--quiet"]) == 0
    assert "images/s" in capsys.readouterr().err


def test_picks_are_those_of_the_sampler(folder, capsys):
    assert main(words()) == 0
    assert capsys.readouterr().out.split() == [
        "picks.csv",
        "picks.png",
        "picks-unreadable.csv",
    ]
    net = load_net("factories:make_net", "net.pt")
    pool = ImageFolderPool("pool", 8, max_unreadable=0.1)
    labeled = pool.positions([row["key"] for row in rows_of("labels.csv")])
    rest = np.setdiff1d(
        np.arange(40), [*labeled, *pool.positions(["a/38.png", "b/39.png"])]
    )
    images = torch.stack([pool[i] for i in rest])
    sampler = DynamicALSampler()
    X_labeled = torch.stack([pool[i] for i in labeled])
    indices = sampler(net, images, 6, X_labeled=X_labeled, y_labeled=np.arange(9) % 3)
    rows = rows_of("picks.csv")
    assert [row["key"] for row in rows] == pool.keys(rest[indices])
    assert [row["rank"] for row in rows] == list("123456")
    for row in rows:
        score, sq_norm, dot = (float(row[name]) for name in ("score", "sq_norm", "dot"))
        assert score == pytest.approx(sq_norm + 2 * dot, rel=1e-12)
        assert row["label"] in "012"
    assert [row["key"] for row in rows_of("picks-unreadable.csv")] == [
        "a/38.png",
        "b/39.png",
    ]
    assert Image.open("picks.png").size == (3 * 96, 2 * 96)


@pytest.mark.slow
def test_a_net_that_has_not_converged_is_told_to_the_person(folder):
    command = [sys.executable, "-m", "skdal.cli", *words(gamma="100")]
    found = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert found.returncode == 0
    assert "UserWarning: the net has not converged" in found.stderr
    assert "of its 9 labels right" in found.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([*words(gamma="0"), "--overwrite"]) == 0  # the remedy


def test_a_second_run_takes_the_scores_that_are_there(folder, monkeypatch):
    needs("pyarrow")
    assert main(words(scores_dir="scores")) == 0
    first = (folder / "picks.csv").read_bytes()
    assert len(list((folder / "scores").glob("*/*.parquet"))) == 1
    monkeypatch.setattr(
        DeltaWork,
        "__call__",
        lambda *args, **kwargs: pytest.fail("scored again"),
    )
    assert main([*words(scores_dir="scores"), "--overwrite"]) == 0
    assert (folder / "picks.csv").read_bytes() == first


@pytest.mark.slow
def test_on_ray(folder, cluster_for_commands):
    assert main(words()) == 0
    assert main([*words(out="on-ray.csv"), "--ray", "auto", "--workers", "1"]) == 0
    assert (folder / "on-ray.csv").read_text() == (folder / "picks.csv").read_text()


@pytest.fixture
def cluster_for_commands(monkeypatch):
    ray = needs("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_TQDM_PATCH_PRINT", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=128 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
        )
    yield
    if is_ours:
        ray.shutdown()
    torch.set_num_threads(threads)


def test_parquet_memory_maps_and_transforms(folder):
    pa, pq = needs("pyarrow"), needs("pyarrow.parquet")
    files = [folder / "pool" / "a" / f"{i:02d}.png" for i in range(0, 38, 2)]
    table = {
        "picture": [file.read_bytes() for file in files],
        "id": [f.stem for f in files],
    }
    pq.write_table(pa.table(table), "images.parquet")
    (folder / "ids.csv").write_text("key,label\n00,0\n02,1\n04,2\n")
    call = words(
        pool="images.parquet",
        column="picture",
        key="id",
        labeled="ids.csv",
        transform="factories:as_tensor",
    )
    assert main(call) == 0
    assert {row["key"] for row in rows_of("picks.csv")} <= set(table["id"][3:])
    np.save(
        "rows.npy", np.random.default_rng(0).random((30, 3, 8, 8)).astype(np.float32)
    )
    (folder / "rows.csv").write_text("key,label\n0,0\n1,1\n2,2\n")
    assert (
        main(
            words(pool="rows.npy", labeled="rows.csv", out="rows-picks.csv", size=None)
        )
        == 0
    )
    assert len(rows_of("rows-picks.csv")) == 6
    assert isinstance(open_pool("pool"), ImageFolderPool)


WRONG = [
    ({"pool": "none"}, 1, "there is nothing at none"),
    ({"net": "none.pt"}, 1, "none.pt cannot be loaded"),
    ({"net": "labels.csv"}, 1, "labels.csv cannot be loaded"),
    ({"net_factory": "factories"}, 2, "must be package.module:function"),
    ({"net_factory": "factories:none"}, 2, "cannot be imported"),
    ({"net_factory": "nowhere:make_net"}, 2, "cannot be imported"),
    ({"net_factory": "factories:number"}, 2, "is not a function but int"),
    ({"net_factory": "builtins:dict"}, 1, "a skorch NeuralNetClassifier is needed"),
    ({"labeled": "none.csv"}, 1, "none.csv cannot be read"),
    ({"labeled": "no_label.csv"}, 1, "must have the columns key and label"),
    (
        {"labeled": "names.csv"},
        1,
        "names.csv, line 3: the label must be an integer from 0.*'cat'",
    ),
    (
        {"labeled": "unknown.csv"},
        1,
        "1 of 1 keys are not in the pool, such as ['a/99.png']",
    ),
    ({"labeled": "large.csv"}, 1, "from 0 to 2"),
    (
        {"labeled": "utf16.csv"},
        1,
        "utf16.csv must have the columns key and label.*UTF-8",
    ),
    (
        {"labeled": "latin.csv"},
        1,
        "latin.csv: 1 of 1 keys are not in the pool.*save the file as UTF-8",
    ),
    ({"labeled": "long.csv"}, 1, "long.csv, line 4: .*field"),
    (
        {"labeled": "squared.csv"},
        1,
        "squared.csv, line 2: the label must be an integer from 0.*'²'",
    ),
    (
        {"labeled": "minus.csv"},
        1,
        "minus.csv, line 4: the label must be an integer from 0.*'-1'. Leave out the rows",
    ),
    (
        {"labeled": "digits.csv"},
        1,
        "digits.csv, line 2: the label must be an integer from 0.*'99999999999999999999999'",
    ),
    (
        {"labeled": "twice.csv"},
        1,
        "twice.csv has 2 keys more than once, such as ['a/00.png', 'b/01.png']",
    ),
    ({"out": "labels.csv"}, 2, "labels.csv exists already"),
    ({"out": "none/picks.csv"}, 2, "there is no folder none"),
    (
        {"out": "picks.png"},
        2,
        "--out must be a file name that ends in .csv; got picks.png",
    ),
    ({"out": "pool"}, 2, "--out must be a file name that ends in .csv; got pool"),
    ({"out": "folder.csv"}, 2, "folder.csv is a folder"),
    ({"out": "sheet.csv"}, 2, "sheet.png exists already"),
    ({"out": "list.csv"}, 2, "list-unreadable.csv exists already"),
    ({"out": "pool/a/picks.csv"}, 2, "pool/a/picks.csv is inside the pool"),
    ({"out": "linked/picks.csv"}, 2, "linked/picks.csv is inside the pool"),
    ({"scores_dir": "pool/scores"}, 2, "pool/scores is inside the pool"),
    (
        {"pool": "rows.npy", "key": "id", "column": "x"},
        2,
        "a .npy file takes no --column, no --key, no --size",
    ),
    ({"column": "image"}, 2, "a folder of images takes no --column"),
    ({"n": "32"}, 2, "from 1 to 31, the size of the pool"),
    ({"max_unreadable": "0.01"}, 1, "cannot be read so far"),
    ({"workers": "2"}, 2, "--workers and --gpus-per-worker are for --ray"),
    (
        {"labeled": "named.csv"},
        1,
        "named.csv, line 2: the label must be an integer from 0.*got 'cat'.*name all outputs",
    ),
    ({"labeled": "named.csv"}, 1, "--classes 'cat,dog,polar bear'"),
    (
        {"labeled": "commas.csv"},
        1,
        "--classes @FILE, one a line. 2 names are there: 'cat, big', 'dog'",
    ),
    ({"labeled": "nan.csv"}, 1, "got 'nan'. Leave out the rows that have no label yet"),
    (
        {"labeled": "named.csv", "classes": "cat,dog,bear"},
        1,
        "named.csv, line 4: .*got 'polar bear'.*Correct them",
    ),
    (
        {"labeled": "nan.csv", "classes": "cat,dog,bear"},
        1,
        "nan.csv, line 2: .*got 'nan'.*Leave out the rows",
    ),
    (
        {"classes": "cat,dog,bear"},
        1,
        "line 2: the label must be one of --classes ('cat', 'dog', 'bear'); got '0'",
    ),
    ({"labeled": "named.csv", "classes": "cat,dog"}, 1, "got 'polar bear'"),
    (
        {"labeled": "cats.csv", "classes": "cat,dog"},
        2,
        "--classes has 2 names ('cat', 'dog'), and the net has 3 out",
    ),
    (
        {"labeled": "cats.csv", "classes": "cat,a,b,c"},
        2,
        "--classes has 4 names .*, and the net has 3 outputs",
    ),
    ({"classes": "cat,dog,cat"}, 2, "--classes has names more than once: 'cat'"),
    ({"classes": "cat,,dog"}, 2, "one of them is empty: 'cat', '', 'dog'"),
    ({"classes": "cat"}, 2, "names of two classes at least.*there is one: 'cat'"),
    ({"classes": "@none.txt"}, 2, "--classes @none.txt cannot be read"),
    ({"classes": "@latin.txt"}, 2, "--classes @latin.txt cannot be read.*UTF-8"),
    ({"classes": "@gap.txt"}, 2, "one of them is empty: 'cat', '', 'dog'"),
    (
        {"pool": "rows.npy", "size": None, "depth": "12"},
        2,
        "a .npy file takes no --depth",
    ),
    (
        {"depth": "12", "transform": "factories:as_tensor"},
        2,
        "depth=12 is for images that become 8 bits",
    ),
    ({"transform": "factories:none"}, 2, "--transform 'factories:none' cannot be"),
    ({"labeled": None}, 2, "DynamicALSampler needs the labeled set.*--labeled CSV"),
    ({"labeled": None, "sampler": "coreset"}, 2, "CoresetSampler needs the labeled"),
    ({"labeled": None, "sampler": "margin", "n": "41"}, 2, "from 1 to 40"),
    ({"sampler": "margn"}, 2, "'margn'.*did you mean 'margin'?.*badge.*mc_dropout"),
    ({"sampler_param": "gama=1"}, 2, "'gama'.*--sampler dynamical.*'gamma'.*penalty"),
    ({"sampler": "margin", "sampler_param": "gamma=1"}, 2, "'gamma'.*random_state."),
    ({"sampler": "margin", "gamma": "1"}, 2, "'gamma'.*--sampler margin"),
    ({"sampler": "margin", "batch_size": "8"}, 2, "--sampler margin.*--batch-size"),
    ({"sampler_param": "executor=1"}, 2, "'executor'.*--sampler dynamical"),
    ({"sampler_param": "classes=1"}, 2, "'classes'.*--sampler dynamical"),
    ({"sampler_param": "gamma"}, 2, "--sampler-param must be NAME=VALUE.*'gamma'"),
    ({"sampler_param": "=1"}, 2, "--sampler-param must be NAME=VALUE.*'=1'"),
    ({"sampler_param": "gamma=1", "gamma": "1"}, 2, "'gamma' is given twice"),
    ({"sampler_param": "gamma=much"}, 2, "gamma must be.*'much'"),
]


@pytest.mark.parametrize(
    "change, code, message", WRONG, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
def test_refused(change, code, message, folder, capsys):
    (folder / "no_label.csv").write_text("key\na/00.png\n")
    (folder / "names.csv").write_text("key,label\na/00.png,0\na/02.png,cat\n")
    (folder / "unknown.csv").write_text("key,label\na/99.png,0\n")
    (folder / "large.csv").write_text("key,label\na/00.png,7\n")
    (folder / "utf16.csv").write_text("key,label\na/00.png,0\n", encoding="utf-16")
    (folder / "latin.csv").write_text("key,label\né.png,0\n", encoding="latin-1")
    (folder / "long.csv").write_text(f"key,label\n\na/00.png,0\n{'x' * 200_000},0\n")
    (folder / "squared.csv").write_text("key,label\na/00.png,²\n")
    (folder / "minus.csv").write_text("key,label\n\na/00.png,0\na/02.png,-1\n")
    (folder / "digits.csv").write_text("key,label\na/00.png,99999999999999999999999\n")
    (folder / "twice.csv").write_text(
        "key,label\na/00.png,0\nb/01.png,1\na/00.png,0\nb/01.png,2\n"
    )
    (folder / "named.csv").write_text(
        "key,label\na/00.png,cat\nb/01.png, dog\na/02.png,polar bear\n"
    )
    (folder / "cats.csv").write_text("key,label\na/00.png,cat\nb/01.png,cat\n")
    (folder / "commas.csv").write_text('key,label\na/00.png,"cat, big"\nb/01.png,dog\n')
    (folder / "nan.csv").write_text("key,label\na/00.png,nan\nb/01.png,cat\n")
    (folder / "latin.txt").write_text("cat\né\n", encoding="latin-1")
    (folder / "gap.txt").write_text("cat\n\ndog\n")
    (folder / "folder.csv").mkdir()
    (folder / "linked").symlink_to("pool/b")
    np.save("rows.npy", np.zeros((30, 3, 8, 8), dtype=np.float32))
    for name in ("sheet.png", "list-unreadable.csv"):
        (folder / name).write_text("mine")
    before = sorted(folder.iterdir())
    assert main(words(**change)) == code
    error = capsys.readouterr().err
    assert error.startswith("skdal score: error: ")
    for part in message.split(".*"):
        assert part in error
    assert [
        path for path in sorted(folder.iterdir()) if path.name != "__pycache__"
    ] == [path for path in before if path.name != "__pycache__"]


NAMES = ("polar bear", "cat", "2")


@pytest.mark.parametrize("classes", ["polar bear,cat, 2", "@names.txt"])
def test_labels_that_are_names(classes, folder):
    rows = rows_of("labels.csv")
    named = [f"{row['key']}, {NAMES[int(row['label'])]}\n" for row in rows]
    (folder / "named.csv").write_text("key,label\n" + "".join(named))
    (folder / "names.txt").write_text(
        "polar bear\r\ncat\r\n2\r\n", encoding="utf-8-sig"
    )
    assert main(words()) == 0
    assert main(words(labeled="named.csv", classes=classes, out="named-picks.csv")) == 0
    found, expected = rows_of("named-picks.csv"), rows_of("picks.csv")
    assert {row["label"] for row in expected} <= {"0", "1", "2"}
    assert found == [{**row, "label": NAMES[int(row["label"])]} for row in expected]
    assert (folder / "named-picks.png").read_bytes() == (
        folder / "picks.png"
    ).read_bytes()


def test_names_in_one_text():
    with pytest.raises(
        InvalidParameterError, match="sequence of names, such as .*; got 'cat,dog'"
    ):
        score(
            "factories:make_net",
            "net.pt",
            "labels.csv",
            None,
            6,
            "picks.csv",
            classes="cat,dog",
        )


def test_the_option_of_the_message_works(folder, capsys):
    (folder / "named.csv").write_text(
        "key,label\na/00.png,cat\nb/01.png,dog\na/02.png,polar bear\n"
    )
    assert main(words(labeled="named.csv")) == 1
    option = capsys.readouterr().err.partition("--classes")[2].partition("--classes")[2]
    assert main([*words(labeled="named.csv"), "--classes", *shlex.split(option)]) == 0
    assert {row["label"] for row in rows_of("picks.csv")} <= {
        "cat",
        "dog",
        "polar bear",
    }


def test_orientation_and_depth(folder):
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for i in range(40):
        turned = Image.Exif()
        turned[0x112] = 6
        Image.fromarray(np.roll(ramp, 97 * i)).save(
            folder / "pool" / "ab"[i % 2] / f"{i:02d}.png", exif=turned
        )
    with pytest.raises(
        UnreadableSampleError,
        match="a/00.png: its values go up to 4095.*skdal score --depth",
    ):
        open_pool("pool")[0]
    assert main([*words(depth="12"), "--exif"]) == 0
    net = load_net("factories:make_net", "net.pt")
    pool = ImageFolderPool("pool", 8, exif=True, depth=12)
    labeled = pool.positions([row["key"] for row in rows_of("labels.csv")])
    rest = np.setdiff1d(np.arange(40), labeled)
    images, X_labeled = (
        torch.stack([pool[i] for i in some]) for some in (rest, labeled)
    )
    indices = DynamicALSampler()(
        net, images, 6, X_labeled=X_labeled, y_labeled=np.arange(9) % 3
    )
    assert [row["key"] for row in rows_of("picks.csv")] == pool.keys(rest[indices])


def test_weights_of_another_net(folder):
    torch.save(nn.Linear(2, 2).state_dict(), "other.pt")
    with pytest.raises(
        InvalidDataError,
        match="(?s)cannot be loaded into the net of factories:make_net.*Missing",
    ):
        load_net("factories:make_net", "other.pt")


def test_weights_as_skorch_writes_them(folder):
    net = load_net("factories:make_net", "net.pt")
    assert isinstance(net, NeuralNetClassifier)
    net.save_params(f_params="again.pt")
    again = load_net("factories:make_net", "again.pt")
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.module_.parameters(), again.module_.parameters())
    )


def test_nothing_of_an_older_run_is_left(folder):
    for name in ("picks.csv", "picks.png", "picks-unreadable.csv"):
        (folder / name).write_text("old")
    for name in ("a/38.png", "b/39.png"):
        (folder / "pool" / name).unlink()
    assert main([*words(), "--overwrite"]) == 0
    assert not (folder / "picks-unreadable.csv").exists()
    assert Image.open("picks.png").size == (3 * 96, 2 * 96)


def test_file_names_that_are_not_utf8(folder):
    odd = os.fsdecode(b"a/\xff.png")
    for name in (odd, os.fsdecode(b"b/\xfe.png")):
        (folder / "pool" / name).write_bytes((folder / "pool/a/36.png").read_bytes())
    with open("labels.csv", "ab") as labels:
        labels.write(os.fsencode(odd) + b",1\n")
    assert main(words(n="30")) == 0
    assert b"\nb/\xfe.png," in (folder / "picks.csv").read_bytes()


@pytest.mark.parametrize("gamma, empty", [("inf", "sq_norm"), ("0", "dot")])
def test_a_term_that_is_not_computed_is_left_empty(gamma, empty, folder):
    assert main(words(gamma=gamma)) == 0
    rows = rows_of("picks.csv")
    assert list(rows[0]) == ["key", "rank", "score", "sq_norm", "dot", "label"]
    assert {row[empty] for row in rows} == {""}
    assert all(
        row["score"] == row["dot" if empty == "sq_norm" else "sq_norm"] for row in rows
    )


def test_the_rest_of_the_pool_travels_light():
    class Pool(torch.utils.data.Dataset):
        def __len__(self):
            return 100_000

        def __getitem__(self, i):
            return np.arange(100_000)[i]

    rest = unlabeled(Pool(), np.array([0, 2, 99_999]))
    assert (len(rest), rest[0], rest[1], rest[-1]) == (99_997, 1, 3, 99_998)
    assert len(pickle.dumps(rest.indices)) < 8 * 100_000 + 1000
    assert isinstance(rest.indices, np.ndarray)


def readable(n_labeled):
    """Return the net, the pool on disk, the labeled positions, and those without labels that can be
    read."""
    net = load_net("factories:make_net", "net.pt")
    pool = ImageFolderPool("pool", 8, max_unreadable=0.1)
    labeled = pool.positions([row["key"] for row in rows_of("labels.csv")][:n_labeled])
    damaged = pool.positions(["a/38.png", "b/39.png"])
    return net, pool, labeled, np.setdiff1d(np.arange(40), [*labeled, *damaged])


NEED_NO_LABELS = ("gradient_length", "egl", "entropy_gradient", "confidence", "margin")
NEED_NO_LABELS += ("entropy", "badge")


@pytest.mark.parametrize(
    "key, labeled",
    [(key, "labels.csv") for key in ("margin", "coreset", "albl", "influence")]
    + [(key, None) for key in NEED_NO_LABELS],
)
def test_any_sampler(key, labeled, folder):
    net, pool, known, rest = readable(9 if labeled else 0)
    call = words(sampler=key, labeled=labeled, sampler_param="random_state=3")
    assert main(call) == 0
    sampler = SAMPLERS[key](FrozenEstimator(net), random_state=3)
    images, X_labeled = (
        torch.stack([pool[i] for i in some]) if len(some) else None
        for some in (rest, known)
    )
    sampler.fit(X_labeled, np.arange(9) % 3 if labeled else None)
    indices, scores = sampler.query(images, 6, return_scores=True)
    rows = rows_of("picks.csv")
    assert [row["key"] for row in rows] == pool.keys(rest[indices])
    assert [row["rank"] for row in rows] == list("123456")
    found = [float(row["score"]) for row in rows]
    assert found == pytest.approx(scores.tolist(), rel=1e-4)
    predicted = net.predict(images[indices])
    assert [row["label"] for row in rows] == predicted.astype(str).tolist()
    assert len(rows_of("picks-unreadable.csv")) == 2


def test_a_sampler_without_scores(folder):
    call = words(sampler="random", n="31", sampler_param="random_state=0")
    assert main(call) == 0
    rows = rows_of("picks.csv")
    assert len({row["key"] for row in rows}) == 31
    assert {row["score"] for row in rows} == {""}
    unlooked = {row["key"] for row in rows if not row["label"]}
    assert unlooked == {"a/38.png", "b/39.png"}  # it reads no image
    assert {row["key"] for row in rows_of("picks-unreadable.csv")} == unlooked


def test_names_where_nothing_is_labeled(folder, capsys):
    call = words(sampler="random", n="40", labeled=None)
    assert main([*call, "--classes", "cat,dog"]) == 2
    assert "the net has 3 outputs" in capsys.readouterr().err
    assert main([*call, "--classes", "cat,dog,bear"]) == 0
    labels = [row["label"] for row in rows_of("picks.csv")]
    assert set(labels) <= {"cat", "dog", "bear", ""}
    assert labels.count("") == 2


def test_parameters_of_the_sampler(folder):
    assert main(words(sampler_param="gamma=inf", out="parameter.csv")) == 0
    assert main(words(gamma="inf", out="option.csv")) == 0
    assert main(words(sampler="influence", out="key.csv")) == 0
    first, *others = [(folder / f"{name}.csv").read_text() for name in NAMES_OF_RUNS]
    assert others == [first, first]
    several = ["--sampler-param", "layers=last", "--sampler-param", "penalty=None"]
    assert main([*words(out="several.csv"), *several]) == 0
    net, pool, known, rest = readable(9)
    sampler = DynamicALSampler(FrozenEstimator(net), layers="last", penalty=None)
    images, X_labeled = (torch.stack([pool[i] for i in some]) for some in (rest, known))
    indices = sampler.fit(X_labeled, np.arange(9) % 3).query(images, 6)
    keys = [row["key"] for row in rows_of("several.csv")]
    assert keys == pool.keys(rest[indices])


NAMES_OF_RUNS = ("parameter", "option", "key")


@pytest.mark.parametrize(
    "text, value",
    [
        ("2", 2),
        (" 0.5", 0.5),
        ("None", None),
        ("inf", np.inf),
        ("-inf", -np.inf),
        ("last", "last"),
        ("a=b", "a=b"),
        ("['conv', 'fc']", ["conv", "fc"]),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values_of_parameters(text, value):
    assert sampler_params_of([f"x={text}"], gamma=None) == {"x": value}


def test_scores_of_another_sampler_are_kept_too(folder):
    needs("pyarrow")
    call = words(sampler="margin", labeled=None, scores_dir="scores")
    assert main(call) == 0
    first = (folder / "picks.csv").read_bytes()
    (part,) = (folder / "scores").glob("*/*.parquet")
    written = part.stat().st_mtime_ns
    assert main([*call, "--overwrite"]) == 0
    assert part.stat().st_mtime_ns == written  # not scored again
    assert (folder / "picks.csv").read_bytes() == first


def test_the_help_names_every_sampler(capsys):
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    shown = capsys.readouterr().out
    assert [key for key in SAMPLERS if key not in shown] == []
