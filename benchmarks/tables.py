"""Writes the tables of the documentation from the records in results/.

`python benchmarks/tables.py` writes docs/tables/*.rst; a test holds them against the records.
"""

import json
from pathlib import Path

FORMS = ("gradient", "gram", "pixels")
RESULTS = Path(__file__).resolve().parent / "results"
TABLES = Path(__file__).resolve().parents[1] / "docs" / "tables"


def speed(record):
    """Return the table of ratios to forward + backward: a row a net, a column a method."""
    rows = record["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for net, precision in dict.fromkeys((row["net"], row["precision"]) for row in rows):
        found = {
            row["method"]: row
            for row in rows
            if (row["net"], row["precision"]) == (net, precision)
        }
        floor = found["forward + backward"]["ms a sample"]
        cells = [
            _ratio(found[method]["ratio"])
            for method in methods
            if method != "forward + backward"
        ]
        name = net if precision == "float32" else f"{net}, {precision}"
        lines.append(
            [name, f"{floor:.3g} ms", *cells, _ratio(found["statistics"]["peak ratio"])]
        )
    header = [
        "net",
        "forward + backward",
        *(m for m in methods if m != "forward + backward"),
        "peak memory",
    ]
    return _table(header, lines) + _machine(record)


def forms(record):
    """Return the table of milliseconds by form."""
    header = ["layer", "gradient", "Gram", "pixels", "chosen", "loss"]
    lines = [
        [
            row["layer"],
            *(_ms(row[f"{form} ms"]) for form in FORMS),
            row["chosen"],
            _ratio(row["loss"]),
        ]
        for row in record["rows"]
    ]
    return _table(header, lines) + _machine(record)


def coverage(record):
    """Return the table of how nets are handled."""
    header = list(record["rows"][0])
    lines = [
        [
            f"{v:.2f}" if isinstance(v, float) else "–" if v is None else f"{v}"
            for v in row.values()
        ]
        for row in record["rows"]
    ]
    return _table(header, lines) + _machine(record)


def peers(record):
    """Return the tables of picks beside those of peers, and of where a peer is wrong."""
    parts = {
        part: [row for row in record["rows"] if row["part"] == part]
        for part in ("picks", "faults")
    }
    header = ["strategy", "peer", "in common", "twice in a batch: peer, skdal", "why"]
    picks = [
        [
            row["strategy"],
            row["peer"],
            _span(row["in common"]),
            f"{row['their duplicates']}, {row['our duplicates']}",
            row["note"],
        ]
        for row in parts["picks"]
    ]
    faults = [
        [row["peer"], row["fault"], row["theirs"], row["ours"]]
        for row in parts["faults"]
    ]
    return (
        _table(header, picks)
        + "\n"
        + _table(["peer", "what", "there", "skdal"], faults)
        + _versions(record)
    )


def samplers(record):
    """Return the table of seconds and megabytes by pool and number of classes, and that of
    scikit-activeml.
    """
    ours = [
        row
        for row in record["rows"]
        if row["library"] == "skdal" and row["n_instances"] == 500
    ]
    sizes = sorted({(row["pool"], row["classes"]) for row in ours})
    header = ["sampler", *(f"{pool:,} x {classes:,}" for pool, classes in sizes)]
    lines = [
        [
            key,
            *(
                _cost(row)
                for size in sizes
                for row in ours
                if (row["sampler"], row["pool"], row["classes"]) == (key, *size)
            ),
        ]
        for key in dict.fromkeys(row["sampler"] for row in ours)
    ]
    header_to_head = [
        "sampler",
        "pool",
        "classes",
        "asked for",
        "scikit-activeml",
        "skdal",
        "times ours",
    ]
    pairs = [
        [
            row["sampler"],
            f"{row['pool']:,}",
            row["classes"],
            row["n_instances"],
            *_both(row, record),
        ]
        for row in record["rows"]
        if row["library"] != "skdal"
    ]
    return (
        _table(header, lines) + "\n" + _table(header_to_head, pairs) + _machine(record)
    )


def _both(row, record):
    return _cost(row), _cost(_twin(row, record)), _ratio(row.get("times ours"))


def _twin(row, record):
    """Return our row of the same query."""
    same = ("sampler", "pool", "classes", "n_instances")
    return next(
        r
        for r in record["rows"]
        if r["library"] == "skdal" and all(r[key] == row[key] for key in same)
    )


def _cost(row):
    return (
        row["note"]
        if row["s"] is None
        else f"{row['s']:.3g} s, {row['peak MB']:.0f} MB"
    )


def _table(header, lines):
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for line in [header, *lines]:
        text += "".join(
            f"   {'* -' if i == 0 else '  -'} {cell}\n" for i, cell in enumerate(line)
        )
    return text


def _machine(record):
    versions = record["versions"]
    return (
        f"\n{record['machine']}, {record['torch_threads']} threads, torch "
        f"{versions['torch'].partition('+')[0]}.\n"
    )


def _versions(record):
    names = ("scikit-learn", "skorch", "torch", "numpy")
    return (
        "\n"
        + ", ".join(
            f"{name} {record['versions'][name].partition('+')[0]}" for name in names
        )
        + ".\n"
    )


def _ratio(value):
    return "–" if value is None else f"{value:.2f}" if value < 9.95 else f"{value:.0f}"


def _span(values):
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def _ms(value):
    return "–" if value is None else f"{value:.1f}"


def harness(record):
    """Return the table of what a run costs beyond its training and queries."""
    header = ["sampler", "by hand", "overhead", "least to most"]
    lines = [
        [
            row["sampler"],
            f"{row['by hand CPU s']:.1f} s",
            f"{row['overhead %']:+.1f} %",
            f"{row['least %']:+.1f} to {row['most %']:+.1f} %",
        ]
        for row in record["rows"]
    ]
    return _table(header, lines) + _machine(record)


def delta(record):
    """Return the table of which term decides Eq. 15: means over seeds, and the range of |g_S|."""
    header = [
        "epochs above 97 %",
        "labels",
        "length of g_S (range)",
        "median length of g_u",
    ]
    header += [
        "rank correlation of Delta with length, dot",
        "top shared with length, dot",
    ]
    lines = []
    for key in dict.fromkeys(
        (row["epochs above"], row["labels"]) for row in record["rows"]
    ):
        rows = [
            row for row in record["rows"] if (row["epochs above"], row["labels"]) == key
        ]
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        lengths = [row["length of g_S"] for row in rows]
        lines.append(
            [
                *(f"{v}" for v in key),
                f"{mean['length of g_S']:,.1f} ({min(lengths):,.1f} to {max(lengths):,.1f})",
                f"{mean['median length of g_u']:.1f}",
                f"{mean['rank correlation with length']:.2f}, "
                f"{mean['rank correlation with dot']:.2f}",
                f"{100 * mean['top shared with length']:.0f} %, "
                f"{100 * mean['top shared with dot']:.0f} %",
            ]
        )
    return _table(header, lines) + _machine(record)


def kernels(record):
    """Return the tables of what tangent kernels cost: infinitely wide, and of nets as they are."""
    found = record["rows"]
    conv = [
        [
            f"{row['pixels']} x {row['pixels']}",
            row["dtype"],
            f"{row['milliseconds a pair']:.3g} ms",
            f"{row['minutes of 750 x 750']:.3g} min",
        ]
        for row in found["infinite"]
    ]
    whole = [
        [name, f"{seconds:.0f} s" if seconds > 20 else f"{seconds:.1f} s"]
        for name, seconds in found["whole"].items()
    ]
    nets = [
        [
            row["net"],
            row["images"],
            *(
                f"{row[name]:.2f} s"
                for name in ("seconds", "whole Jacobians", "products")
            ),
        ]
        for row in found["empirical"]
    ]
    parts = [
        _table(["images", "dtype", "a pair", "750 x 750, each pair once"], conv),
        _table(["in full", "took"], whole),
        _table(
            ["net", "images", "empirical_ntk", "whole Jacobians", "products alone"],
            nets,
        ),
    ]
    return "\n".join(parts) + _machine(record)


def pool_serial(record):
    """Return the table of seconds and memory by size of the pool."""
    header = [
        "images",
        "a query of 500",
        "least to most",
        "an image",
        "largest anonymous memory",
    ]
    lines = [
        [
            f"{row['images']:,}",
            f"{row['seconds']:.3g} s",
            f"{row['spread'][0]:.3g} to {row['spread'][1]:.3g} s",
            f"{row['microseconds an image']:.1f} µs",
            f"{row['MB']:.0f} MB",
        ]
        for row in record["rows"]
    ]
    return _table(header, lines) + _machine(record)


def pool_ray(record):
    """Return the table of the serial path beside one and two workers."""
    (row,) = record["rows"]
    names = {"serial": "serial", "1": "Ray, one worker", "2": "Ray, two workers"}
    lines = [
        [
            name,
            f"{row['seconds'][key]:.1f} s",
            ", ".join(f"{x:.1f}" for x in row["all"][key]),
        ]
        for key, name in names.items()
    ]
    said = (
        f"\nOverhead of one worker {100 * row['overhead of one worker']:.0f} %, efficiency of two "
        "workers "
        f"{100 * row['efficiency of two workers']:.0f} %; the same picks.\n"
    )
    return _table(["", "a query of 500", "all turns"], lines) + said + _machine(record)


_GPU_SECONDS = (
    1e-3  # an image of 224x224 on a GPU, assumed: no GPU was there to measure it
)
_CLUSTERS = ((1_280_000, 8, 512), (1_000_000_000, 256, 512), (1_000_000_000, 256, 8192))


def pool_parts(record):
    """Return the measured parts of the cost model, and the model for large clusters."""
    (row,) = record["rows"]
    measured = [[name, _quantity(name, value)] for name, value in row.items()]
    header = [
        "images",
        "GPUs",
        "shard",
        "GPUs are busy",
        "cores that decode",
        "JPEG read",
        "driver is busy",
        "results",
    ]
    lines = []
    for n, gpus, shard in _CLUSTERS:
        n_shards, rate = n / shard, gpus / _GPU_SECONDS
        per_shard = (
            row["driver, seconds a shard"] + row["merge of 500, seconds a shard"]
        )
        lines.append(
            [
                f"{n:,}",
                gpus,
                shard,
                f"{n * _GPU_SECONDS / gpus / 60:.3g} min",
                f"{rate * row['decoding, seconds an image']:.0f}",
                f"{rate * row['JPEG, bytes'] / 1e9:.2g} GB/s",
                f"{n_shards * per_shard / 60:.2g} min",
                f"{n_shards * row['500 best of a shard, bytes'] / 1e9:.2g} GB",
            ]
        )
    return (
        _table(["measured", ""], measured)
        + "\n"
        + _table(header, lines)
        + _machine(record)
    )


def _quantity(name, value):
    if name.endswith("bytes"):
        return f"{value / 1e6:.3g} MB"
    return f"{1000 * value:.3g} ms"


MAKERS = {
    "pool-serial": pool_serial,
    "pool-ray": pool_ray,
    "pool-parts": pool_parts,
    "speed-cpu": speed,
    "speed-cuda": speed,
    "forms": forms,
    "coverage": coverage,
    "peers": peers,
    "samplers": samplers,
    "harness": harness,
    "delta": delta,
    "kernels": kernels,
    "kernels-cuda": kernels,
}


def tables():
    """Return the text of every table whose record is there, by name."""
    paths = {name: RESULTS / f"{name}.json" for name in MAKERS}
    return {
        name: MAKERS[name](json.loads(path.read_text()))
        for name, path in paths.items()
        if path.exists()
    }


if __name__ == "__main__":
    for name, text in tables().items():
        (TABLES / f"{name}.rst").write_text(text)
