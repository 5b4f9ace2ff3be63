"""Results in files: made once, read from then on, and never replaced where they are damaged."""

import numpy as np
import pytest

from skdal.exceptions import InvalidDataError
from skdal.utils import AS_ARRAY, AS_JSON, kept, read_kept


@pytest.mark.parametrize(
    ("form", "value"),
    [(AS_JSON, {"rows": [1, 2.5, None]}), (AS_ARRAY, np.arange(6.0).reshape(2, 3))],
    ids=["JSON", "array"],
)
def test_a_value_is_made_once(form, value, tmp_path):
    made = []

    def make():
        made.append(value)
        return value

    file = tmp_path / "deep" / "file"
    for _ in range(2):
        np.testing.assert_equal(kept(file, make, form), value)
    assert len(made) == 1
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_what_comes_first_is_what_comes_later(tmp_path):
    file = tmp_path / "file.json"
    assert kept(file, lambda: (1, 2), AS_JSON) == [1, 2]
    assert kept(file, pytest.fail, AS_JSON) == [1, 2]


@pytest.mark.parametrize("form", [AS_JSON, AS_ARRAY], ids=["JSON", "array"])
@pytest.mark.parametrize("content", [b"", b"[1, 2", b"\xff"])
def test_a_damaged_file_is_named_and_stays(form, content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidDataError, match="file is damaged"):
        kept(tmp_path / "file", pytest.fail, form)
    assert (tmp_path / "file").read_bytes() == content


def test_a_value_may_have_a_fault_of_its_own(tmp_path):
    (tmp_path / "file").write_text("[]")
    with pytest.raises(InvalidDataError, match=r"file is damaged \(no rows\)"):
        read_kept(tmp_path / "file", AS_JSON, lambda value: "no rows")
    assert read_kept(tmp_path / "file", AS_JSON, lambda value: None) == []


def test_nothing_is_left_where_making_fails(tmp_path):
    def make():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kept(tmp_path / "file", make, AS_JSON)
    with pytest.raises(ValueError, match="JSON"):  # NaN is no JSON
        kept(tmp_path / "file", lambda: float("nan"), AS_JSON)
    assert list(tmp_path.iterdir()) == []
