"""Frames and series by the library that they are of: pandas, polars, pyarrow and Hugging Face's
datasets.

Each library has a class with the same functions, so that nobody asks what a container looks like. A
container of a library that is not listed here has none of them, and is refused by name instead of
being made an array.
"""

import sys

import numpy as np

from skdal.exceptions import InvalidDataError


class Library:
    """What is asked of the frames and series of a library.

    Attributes
    ----------
    name : str
        Of the Python module.
    frames, series : tuple of str
        Names of its classes. A frame has columns with names; a series is a column of samples or
        labels.
    array : str
        The expression that makes an array of a frame `X`, for messages.
    """

    name = ""
    frames = ()
    series = ()
    array = "X.to_numpy()"

    def classes(self, names):
        """Return the library's classes of these names; none where nobody has imported it."""
        module = sys.modules.get(self.name)
        found = [getattr(module, name, None) for name in names]
        return tuple(cls for cls in found if cls is not None)

    def is_frame(self, X):
        """Tell whether X is a frame of this library."""
        return isinstance(X, self.classes(self.frames))

    def is_series(self, X):
        """Tell whether X is a series of this library."""
        return isinstance(X, self.classes(self.series))

    def columns(self, X):
        """Return the names of the columns of a frame."""
        return list(X.columns)

    def select(self, X, columns):
        """Return a frame with these columns of X, in this order."""
        return X[columns]

    def take(self, X, positions):
        """Return the rows of X at a slice or an integer array."""
        return X[positions]

    def frame(self, rows, columns):
        """Return the rows of an array (n, d) as a frame with these columns."""
        raise NotImplementedError

    def one_series(self, values):
        """Return the values of an array (n,) as a series."""
        raise NotImplementedError

    def append(self, first, second):
        """Return the rows of a frame or series followed by those of another one with the same
        columns in order.

        Raises
        ------
        ValueError, TypeError
            The types of a column do not go together.
        """
        raise NotImplementedError

    def check_types(self, first, second):
        """Raise as `append` does if the types of two frames with the same columns in order do not
        go together.
        """
        nothing = slice(0, 0)
        self.append(self.take(first, nothing), self.take(second, nothing))

    def values(self, X):
        """Return the values of X for a digest: an array, a dict of them, or None where they are not
        in memory.
        """
        return np.asarray(X)


class Pandas(Library):
    """pandas, whose rows keep the index that they came with."""

    name = "pandas"
    frames = ("DataFrame",)
    series = ("Series",)

    def take(self, X, positions):
        return X.iloc[positions]

    def frame(self, rows, columns):
        return sys.modules["pandas"].DataFrame(rows, columns=columns)

    def one_series(self, values):
        return sys.modules["pandas"].Series(values)

    def append(self, first, second):
        return sys.modules["pandas"].concat(self._of_same_categories(first, second))

    def check_types(self, first, second):
        self._of_same_categories(
            first[:0], second[:0]
        )  # all else goes together, and concat warns of empty frames

    def _of_same_categories(self, first, second):
        """Return two frames or series whose categorical columns have the categories of both."""
        if first.ndim == 1:
            return self._alike(first, second)
        for place, dtype in enumerate(first.dtypes):
            if isinstance(dtype, sys.modules["pandas"].CategoricalDtype):
                old, new = self._alike(first.iloc[:, place], second.iloc[:, place])
                first = _with_column(first, place, old)
                second = _with_column(second, place, new)
        return first, second

    def _alike(self, first, second):
        """Return two columns, of the same categories if the first has any: those of the first, then
        new ones.
        """
        pandas = sys.modules["pandas"]
        if (
            not isinstance(first.dtype, pandas.CategoricalDtype)
            or first.dtype == second.dtype
        ):
            return first, second
        if not isinstance(second.dtype, pandas.CategoricalDtype):
            second = second.astype("category")
            if first.dtype.ordered:
                second = second.cat.set_categories(_known(first, second), ordered=True)
        dtype = pandas.CategoricalDtype(
            _merged(first, second), ordered=first.dtype.ordered
        )
        return first.astype(dtype), second.astype(dtype)


def _with_column(frame, place, column):
    """Return a frame with another column at a place; the frame itself where it is the same
    column.
    """
    if column.dtype == frame.dtypes.iloc[place]:
        return frame
    frame = frame.copy(deep=False)
    frame.isetitem(place, column)
    return frame


def _known(first, second):
    """Return the categories of an ordered column, which a column of plain values may not add to."""
    known = list(first.cat.categories)
    found = list(second.cat.categories)
    if new := [value for value in found if value not in known]:
        raise ValueError(_ordered(first, f"the values {new[:5]} are none of them"))
    return known


def _merged(first, second):
    """Return the categories of two categorical columns in one list."""
    known = list(first.cat.categories)
    found = list(second.cat.categories)
    if not first.dtype.ordered and not second.dtype.ordered:
        return known + [value for value in found if value not in known]
    longer, shorter = (known, found) if len(known) >= len(found) else (found, known)
    both_ordered = first.dtype.ordered and second.dtype.ordered
    if not both_ordered or [value for value in longer if value in shorter] != shorter:
        raise ValueError(_ordered(first, f"the new ones are {_categories(second)}"))
    return longer


def _ordered(first, came):
    return (
        f"the categories of column {first.name!r} so far are {_categories(first)}, and {came}. "
        "Give both the same ordered categories: "
        "X[column].astype(pandas.CategoricalDtype([...], ordered=True)) with all of them in "
        "order"
    )


def _categories(column):
    order = " in this order" if column.dtype.ordered else " without an order"
    return f"{list(column.cat.categories)[:10]}{order}"


class Polars(Library):
    """polars, whose concat would make text of numbers that stand beside text."""

    name = "polars"
    frames = ("DataFrame",)
    series = ("Series",)

    def frame(self, rows, columns):
        return sys.modules["polars"].DataFrame(rows, schema=columns)

    def one_series(self, values):
        return sys.modules["polars"].Series(values)

    def append(self, first, second):
        polars = sys.modules["polars"]
        if self.is_series(first):
            together = self.append(first.to_frame("y"), second.alias("y").to_frame())
            return together.to_series().alias(first.name)
        try:
            second = second.cast(
                {
                    name: dtype
                    for name, dtype in first.schema.items()
                    if dtype == polars.Enum
                }
            )
        except polars.exceptions.PolarsError as error:
            raise ValueError(
                f"{error}. Cast both to one Enum that has all categories"
            ) from error
        for name, dtype in first.schema.items():
            new = second.schema[name]
            if (
                dtype.is_numeric()
                and new == polars.String
                or dtype == polars.String
                and new.is_numeric()
            ):
                raise TypeError(
                    f"column {name!r} is of type {new}, and was of type {dtype} so far; cast it"
                )
        try:
            return polars.concat([first, second], how="vertical_relaxed")
        except polars.exceptions.PolarsError as error:
            raise TypeError(str(error)) from error


class Arrow(Library):
    """pyarrow."""

    name = "pyarrow"
    frames = ("Table",)
    series = ("ChunkedArray", "Array")
    array = "X.to_pandas().to_numpy()"

    def columns(self, X):
        return list(X.column_names)

    def select(self, X, columns):
        return X.select(columns)

    def take(self, X, positions):
        return (
            X[positions]
            if isinstance(positions, slice)
            else X.take(np.asarray(positions))
        )

    def frame(self, rows, columns):
        return sys.modules["pyarrow"].table(list(np.asarray(rows).T), names=columns)

    def one_series(self, values):
        return sys.modules["pyarrow"].chunked_array([values])

    def append(self, first, second):
        pyarrow = sys.modules["pyarrow"]
        if self.is_frame(first):
            return pyarrow.concat_tables([first, second], promote_options="permissive")
        one, other = (pyarrow.table({"y": column}) for column in (first, second))
        return self.append(one, other)["y"]

    def values(self, X):
        return (
            {name: np.asarray(X[name]) for name in X.column_names}
            if self.is_frame(X)
            else np.asarray(X)
        )


class HuggingFace(Library):
    """Hugging Face's datasets: items are dicts, the values lie on disk, and the format says what
    items are made of.
    """

    name = "datasets"
    frames = ("Dataset",)
    array = 'X.with_format("numpy")[column][:]'

    def columns(self, X):
        return list(X.format["columns"])

    def select(self, X, columns):
        return X  # items are dicts, where the order does not count

    def take(self, X, positions):
        positions = (
            range(len(X))[positions]
            if isinstance(positions, slice)
            else np.asarray(positions)
        )
        return X.select(positions)

    def append(self, first, second):
        plain = [
            part.with_format(None) for part in (first, second)
        ]  # of two formats none would be left
        form = dict(first.format)
        kwargs = form.pop("format_kwargs")
        return (
            sys.modules["datasets"]
            .concatenate_datasets(plain)
            .with_format(**form, **kwargs)
        )

    def values(self, X):
        return None


_LIBRARIES = (Pandas(), Polars(), Arrow(), HuggingFace())


def library_of(X):
    """Return the `Library` whose frame or series X is, None for everything else."""
    return next(
        (
            library
            for library in _LIBRARIES
            if library.is_frame(X) or library.is_series(X)
        ),
        None,
    )


def is_frame(X):
    """Tell whether X is a frame of a library that is known, with named columns."""
    return any(library.is_frame(X) for library in _LIBRARIES)


def has_names(X):
    """Tell whether X is a frame whose columns have names; numbers, as pandas gives them to an
    array, are none.
    """
    return is_frame(X) and any(
        isinstance(name, str) for name in library_of(X).columns(X)
    )


def append_to(library, first, second):
    """Return a frame or series followed by other samples or labels, in the same kind of container.

    Columns of a frame go by name, in any order. The rows of an array go to the columns by position.

    Raises
    ------
    InvalidDataError
        `second` is a container of another library, its columns are others, or its types do not fit.
    """
    kind = f"{library.name} {type(first).__name__}"
    if library.is_series(first):
        second = (
            second
            if library.is_series(second)
            else library.one_series(_plain(second, kind))
        )
    elif not library.is_frame(second):
        second = named_like(second, first, "the new samples", "the samples so far")
    else:
        second = _in_order(library, first, second)
    return library.append(first, second)


def named_like(X, frame, name, of):
    """Return the rows of an array as a frame with the columns of another one, by position.

    Parameters
    ----------
    X : array (n, d)
    frame : frame
    name, of : str
        What X and `frame` are called in a message.

    Raises
    ------
    InvalidDataError
        X is neither an array nor a list of rows, or has another number of columns.
    """
    library = library_of(frame)
    columns = library.columns(frame)
    kind = f"{library.name} {type(frame).__name__}"
    is_rows = isinstance(X, (np.ndarray, list, tuple)) and not isinstance(
        library, HuggingFace
    )
    if not is_rows or np.ndim(X) != 2 or np.shape(X)[1] != len(columns):
        raise InvalidDataError(
            f"{name} must be a {kind} with the columns {columns[:10]}, as {of} have; got "
            f"{full_name(X)} of shape {tuple(getattr(X, 'shape', ())) or np.shape(X)}."
        )
    return library.frame(np.asarray(X), columns)


def _in_order(library, first, second):
    wanted = library.columns(first)
    found = library.columns(second)
    if wanted == found:
        return second
    if sorted(map(str, wanted)) != sorted(map(str, found)) or len(set(found)) < len(
        found
    ):
        raise ValueError(f"the columns are {found}, and were {wanted} so far")
    return library.select(second, wanted)


def _plain(values, kind):
    """Return labels from some other container as an array (n,)."""
    array = one_axis(values)
    if array is None:
        raise InvalidDataError(
            f"cannot append {full_name(values)} to a {kind}; pass an array, a list or a {kind}."
        )
    return array


def one_axis(values):
    """Return values of one axis as an array (n,), None for what is unknown or has other axes."""
    is_known = (
        isinstance(values, (list, tuple, np.ndarray))
        or library_of(values) is not None
        or is_array(values)
    )
    if not is_known or is_frame(values):
        return None
    array = np.asarray(values)
    return array if array.ndim == 1 else None


def is_array(X):
    """Tell whether X says what array it is, as those of numpy, h5py, zarr and pandas' extensions
    do.
    """
    return all(hasattr(X, name) for name in ("dtype", "shape", "__array__"))


def full_name(X):
    """Return the name of the class of X with the library that it is of."""
    library = type(X).__module__.partition(".")[0]
    return (
        type(X).__name__ if library == "builtins" else f"{library} {type(X).__name__}"
    )
