"""Helpers that know nothing of nets or samplers: rows, random state, progress, validation."""

from skdal.utils._arrays import as_array
from skdal.utils._describe import describe
from skdal.utils._device import check_device, may_use_tf32
from skdal.utils._digest import digest
from skdal.utils._files import prepare_folder, write_atomically
from skdal.utils._frames import full_name, has_names, is_frame, library_of, named_like
from skdal.utils._kept import AS_ARRAY, AS_JSON, Format, damaged, keep, kept, read_kept
from skdal.utils._locks import exclusive, turns
from skdal.utils._modules import frozen, swapped, uncompiled, untouched
from skdal.utils._positions import positions_from
from skdal.utils._progress import progress_bar
from skdal.utils._random import forked_rng, preserved_rng, query_generator
from skdal.utils._reason import reason
from skdal.utils._rows import (
    concat_rows,
    count_rows,
    is_torch_dataset,
    iter_shards,
    row_slices,
    rows_digest,
    sample_shape,
    take_rows,
)
from skdal.utils._threads import one_thread
from skdal.utils._torch import (
    BatchNorm,
    gradient_hooks,
    input_hooks_of,
    is_batch_norm,
    is_compiled,
    is_softmax_of_rows,
    is_view,
    ndim_without_samples,
    operation_of,
    original_of,
    output_hooks_of,
    own_buffers,
    own_parameters,
    picks_by_index,
    run_input_hooks,
    saved,
    version_of,
    with_parameters,
)
from skdal.utils._trees import tree_leaves, tree_map
from skdal.utils._validation import (
    check_finite_scores,
    check_known,
    check_n_instances,
    check_parameters,
    check_values,
    did_you_mean,
    integer_from,
    is_boolean,
    is_count,
    is_number,
    is_positive_integer,
    is_random_state,
    optional,
    refuse_non_finite,
)
from skdal.utils._warn import warn_caller
from skdal.utils._wrappers import unwrapped

__all__ = [
    "AS_ARRAY",
    "AS_JSON",
    "as_array",
    "BatchNorm",
    "check_device",
    "check_finite_scores",
    "check_known",
    "check_n_instances",
    "check_parameters",
    "check_values",
    "concat_rows",
    "count_rows",
    "damaged",
    "describe",
    "did_you_mean",
    "digest",
    "exclusive",
    "forked_rng",
    "Format",
    "frozen",
    "full_name",
    "gradient_hooks",
    "has_names",
    "input_hooks_of",
    "integer_from",
    "is_batch_norm",
    "is_boolean",
    "is_compiled",
    "is_count",
    "is_frame",
    "is_number",
    "is_positive_integer",
    "is_random_state",
    "is_softmax_of_rows",
    "is_torch_dataset",
    "is_view",
    "iter_shards",
    "keep",
    "kept",
    "library_of",
    "may_use_tf32",
    "named_like",
    "ndim_without_samples",
    "one_thread",
    "operation_of",
    "optional",
    "original_of",
    "output_hooks_of",
    "own_buffers",
    "own_parameters",
    "picks_by_index",
    "positions_from",
    "prepare_folder",
    "preserved_rng",
    "progress_bar",
    "query_generator",
    "read_kept",
    "reason",
    "refuse_non_finite",
    "row_slices",
    "rows_digest",
    "run_input_hooks",
    "sample_shape",
    "saved",
    "swapped",
    "take_rows",
    "tree_leaves",
    "tree_map",
    "turns",
    "uncompiled",
    "untouched",
    "unwrapped",
    "version_of",
    "warn_caller",
    "with_parameters",
    "write_atomically",
]
