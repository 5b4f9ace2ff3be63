"""A skorch net as the gradient engine sees it: a module, a forward pass, losses, mini-batches."""

import copy
from contextlib import contextmanager
from functools import cached_property

import torch
from skorch import NeuralNetClassifier
from torch.nn.parameter import UninitializedParameter

from skdal.adapters._batches import (
    Items,
    NetBatches,
    default_batch_size,
    own_batch_size,
)
from skdal.adapters._blame import (
    UnstackableSampleError,
    explanation,
    refuse_samples,
)
from skdal.adapters._foreign import is_foreign, looking_at_first
from skdal.adapters._items import settled
from skdal.adapters._kinds import (
    check_fitted,
    check_net,
    final_estimator,
    unfrozen,
)
from skdal.adapters._labels import check_labels, labels_of
from skdal.adapters._steps import transform_rows
from skdal.exceptions import (
    InvalidDataError,
    InvalidParameterError,
    InvalidSampleError,
    NotFittedError,
    SkdalError,
    UnsupportedEstimatorError,
)
from skdal.utils import (
    count_rows,
    is_positive_integer,
    is_softmax_of_rows,
    iter_shards,
    positions_from,
    preserved_rng,
    take_rows,
    tree_leaves,
    tree_map,
    uncompiled,
    untouched,
    unwrapped,
    version_of,
)

# attribute of a net in a worker: its mini-batches where a sampler names no length
OWN_LENGTH = "skdal_batch_size"
LABELED = "the labeled set"
_SHARD_BATCHES = 64  # rows that a Pipeline transforms at once, in mini-batches


class NetView:
    """The net of an estimator, opened for reading.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Pipeline or FrozenEstimator
        A trained net, or what ends in one.

    Attributes
    ----------
    module : torch.nn.Module
        The net's module, compiled and DataParallel wrappers removed.
    """

    def __init__(self, estimator):
        net = final_estimator(estimator)
        self.estimator = unfrozen(estimator)
        self.module = unwrapped(net.module_)
        self._net = shallow_copy(net, module_=self.module)
        self.overrides_loss = type(net).get_loss is not NeuralNetClassifier.get_loss
        self._loss = None  # stands for the criterion
        self._others = None, ()
        self._read = None, None
        self._attributes = None
        self._writes = (
            None  # whether the module works in place on its input; the first call tells
        )
        self._at = _Cursor()

    def with_module(self, module):
        """Return a view of the same net that runs another module, such as a copy of its own."""
        view = copy.copy(self)
        view.module = module
        view._net = shallow_copy(self._net, module_=module)
        view._others = None, ()
        view._read = None, None
        view._attributes = None
        vars(view).pop("_loss_net", None)  # an own get_loss may look at the module
        return view

    @property
    def criterion_name(self):
        """Name of the criterion's class."""
        return type(unwrapped(self._net.criterion_)).__name__

    def _proba(self, outputs):
        return self._net._get_predict_nonlinearity()(outputs)

    def with_loss(self, loss):
        """Return a view of the same net whose losses (n,) are a function of its class probabilities
        (n, K).
        """
        view = copy.copy(self)
        view._loss = loss
        view.overrides_loss = False
        return view

    def forward(self, inputs):
        """Return the outputs (n, K) of a mini-batch, which is not changed; the first of several
        outputs counts.
        """
        given = inputs
        if self._writes is not False:  # a mini-batch is run several times
            inputs = cloned(inputs)
        versions = _versions(inputs) if self._writes is None else None
        if self._attributes:
            # a cache would carry one pass' graph, or the lack of one, into the next
            self._attributes.restore()
        outputs = self._net.infer(inputs)
        if self._writes is None:
            self._writes = _versions(inputs) != versions
        first = first_output(outputs)
        self._others = (first, outputs[1:]) if outputs is not first else (first, ())
        self._read = (first, given) if self.overrides_loss else (None, None)
        return first

    def losses(self, outputs, labels):
        """Return each sample's loss (n,) in float64: softmax minus one-hot cancels badly in
        float32.
        """
        wide = outputs.double()
        if _is_softmax(outputs):
            wide.register_hook(
                lambda gradient: _without_cancellation(gradient, outputs)
            )
        return self._losses(
            wide, self._others_of(outputs), labels, self._given_for(outputs)
        )

    def probabilities(self, outputs):
        """Return the class probabilities (n, K) of outputs, as the net's `predict_proba` makes
        them.

        Raises
        ------
        UnsupportedEstimatorError
            They are not distributions.
        """
        proba = self._proba(outputs.float() if outputs.itemsize < 4 else outputs)
        wrong = (proba < -1e-6).any(1) | ((proba.sum(1) - 1).abs() > 1e-3)
        if wrong.any():
            raise UnsupportedEstimatorError(
                no_probabilities(self._net, proba[wrong][0].tolist())
            )
        return proba

    def cross_entropy_weights(self, n_classes):
        """Return the weight (K,) of each class where the loss is plain cross entropy of logits,
        else None.
        """
        criterion = self._loss_net.criterion_
        if (
            type(criterion) is not torch.nn.CrossEntropyLoss
            or criterion.label_smoothing
            or self.overrides_loss
        ):
            return None
        weights = (
            torch.ones(n_classes, dtype=torch.float64)
            if criterion.weight is None
            else criterion.weight.clone()
        )
        if 0 <= criterion.ignore_index < n_classes:
            weights[criterion.ignore_index] = 0
        return weights

    def output_gradients(self, outputs, labels):
        """Return what the sum of the losses is differentiated to: pairs of an output and its
        float64 gradient.

        They are the outputs (n, K) themselves and those others that the loss depends on.
        """
        if self._loss is not None:
            self.probabilities(outputs.detach())  # raises if they are none
        others = self._others_of(outputs)
        wide, *wide_others = (
            x.detach().double().requires_grad_()
            if isinstance(x, torch.Tensor) and x.is_floating_point()
            else x
            for x in (outputs, *others)
        )
        losses = self._losses(wide, wide_others, labels, self._given_for(outputs))
        leaves = [
            (x, leaf)
            for x, leaf in zip((outputs, *others), (wide, *wide_others))
            if leaf is not x
        ]
        gradients = torch.autograd.grad(
            losses.sum(), [leaf for _, leaf in leaves], allow_unused=True
        )
        pairs = [
            (x, gradient)
            for (x, _), gradient in zip(leaves, gradients)
            if gradient is not None
        ]
        _refuse_shared(pairs, len(labels))
        if _is_softmax(outputs):
            pairs = [
                (x, _without_cancellation(g, outputs) if x is outputs else g)
                for x, g in pairs
            ]
        return pairs

    def _others_of(self, outputs):
        """Return what the module gave beside `outputs`, if the net's own get_loss unpacks it."""
        found, others = self._others
        return others if found is outputs and self.overrides_loss else ()

    def _given_for(self, outputs):
        """Return the mini-batch that the module made `outputs` of, which a get_loss of the net's
        own may read.
        """
        found, given = self._read
        return given if found is outputs else None

    def _losses(self, wide, others, labels, given):
        """Return the losses (n,) of outputs in float64.

        A get_loss of the net's own that gives one number for several samples, such as their mean,
        is called for each sample alone.
        """
        if self._loss is not None:
            return self._loss(self._proba(wide))
        n = len(labels)
        losses = self._loss_of(wide, others, labels, given)
        if self.overrides_loss and losses.ndim == 0:
            parts = (slice(i, i + 1) for i in range(n)) if n > 1 else ()
            alone = [
                self._loss_of(*_rows_of(rows, n, (wide, others, labels, given)))
                for rows in parts
            ]
            losses = (
                torch.stack([loss.reshape(()) for loss in alone])
                if alone
                else losses[None]
            )
        if losses.shape != labels.shape:
            whose = (
                "net's get_loss"
                if self.overrides_loss
                else "criterion with reduction='none'"
            )
            other = (
                ", or a get_loss that gives one number for a mini-batch"
                if self.overrides_loss
                else ""
            )
            raise UnsupportedEstimatorError(
                f"the {whose} gives shape {tuple(losses.shape)} for {n} labels; skdal needs one "
                f"loss a sample{other}."
            )
        return losses

    def _loss_of(self, wide, others, labels, given, net=None):
        net = self._loss_net if net is None else net
        outputs = (wide, *others) if others else wide
        is_training = net is self._net
        try:
            return net.get_loss(outputs, labels, X=given, training=is_training)
        except Exception as error:
            if not is_foreign(error):
                raise
            words = self._words_of_loss(wide, labels, error)
            raise UnsupportedEstimatorError(words) from error

    def try_training_loss(self, outputs, labels):
        """Raise an UnsupportedEstimatorError if the loss that the net is trained with fails on some
        outputs.
        """
        others = self._others_of(outputs)
        given = self._given_for(outputs)
        self._loss_of(outputs, others, labels, given, net=self._net)

    def _words_of_loss(self, outputs, labels, error):
        asked = f"the criterion {self.criterion_name}"
        remedy = (
            "Use a criterion of class labels, such as CrossEntropyLoss for outputs that are "
            "logits, or NLLLoss for probabilities."
        )
        if self.overrides_loss:
            asked = f"the get_loss of {type(self._net).__name__}"
            remedy = f"Look at that get_loss. {remedy}"
        shape = tuple(labels.shape)
        dtype = str(labels.dtype).removeprefix("torch.")
        return (
            f"{asked} fails on outputs {tuple(outputs.shape)} and labels {shape} of {dtype}, "
            f"{type(error).__name__}: {error}. {remedy}"
        )

    @cached_property
    def _loss_net(self):
        return shallow_copy(self._net, criterion_=_per_sample_criterion(self._net))

    @contextmanager
    def reading(self):
        """Run a block in eval mode; module, buffers and global generators are as found afterwards.

        Inference mode is left, what is compiled runs as it was written, and attention without its
        fast path: hooks see every part, and ordinary tensors. An error of others that comes of a
        sample tells of which.
        """
        with (
            torch.inference_mode(False),
            preserved_rng(),
            uncompiled(self.module),
            _without_fast_path(),
        ):
            with untouched(self.module) as attributes:
                self._attributes = attributes
                try:
                    yield self
                except Exception as error:
                    if is_foreign(error):
                        self._refuse_last(error)
                    raise

    def _refuse_last(self, error):
        """Raise an InvalidSampleError if the module does not take the mini-batch that was given
        last.
        """
        batches = self._at.batches
        if batches is None:
            return
        samples = batches.samples
        rows = batches.rows
        with positions_from(self._at.start), torch.no_grad():
            cause = self._error_of(samples, rows)
            if cause is None:
                return
            refuse_samples(samples, rows, cause, run=self.forward, of=batches.of)
            if self._error_of(samples, rows) is None:
                return  # it fails now and then, whatever the samples
            x = samples.input_of(samples.fetch(rows[0]))
            stage = (
                f"and {len(rows) - 1} more are not taken together by the net's module"
            )
            words = explanation(self._net, stage, x, cause)
            raise InvalidSampleError(words, rows[0], batches.of) from cause

    def _error_of(self, samples, rows):
        """Return the foreign error with which the module refuses a mini-batch, None where it takes
        it.
        """
        try:
            self.forward(samples.collated([samples.fetch(i) for i in rows]))
        except Exception as error:
            if not is_foreign(error):
                raise
            return error
        return None

    def refusal(self, x):
        """Return the error with which the module refuses an input of one sample, None where it
        takes it.
        """
        try:
            self.n_outputs(Items([(x, 0)]))
        except SkdalError as error:
            return error
        return None

    def settled(self, X, X_labeled=None, y_labeled=None, **how):
        """Return pool and labeled set with items that all read alike; see `settled`."""
        return settled(X, X_labeled, y_labeled, refusal=self.refusal, **how)

    def batch_size(self, X, batch_size=None, of="the pool"):
        """Return the mini-batch length: the one given, or the default for the shape of X's
        samples.
        """
        if batch_size is None:
            own = getattr(self._net, OWN_LENGTH, None)
            with looking_at_first(X, of):
                return own or default_batch_size(X, self._net)
        if not is_positive_integer(batch_size):
            raise InvalidParameterError(
                f"batch_size must be None or an integer of at least 1; got {batch_size!r}."
            )
        return batch_size

    def pool_batches(self, X, y=None, *, batch_size=None):
        """Yield (inputs, labels) of a pool in index order; labels None where y is."""
        if y is not None:
            y = check_labels(y, count_rows(X), self.n_outputs(X))
        yield from self._batches(X, y, labeled=y is not None, batch_size=batch_size)

    def labeled_batches(self, X, y=None, *, batch_size=None):
        """Yield (inputs, labels) of a labeled set in index order; y None: the Dataset's labels."""
        y = self.checked_labels(X, y)
        n_outputs = None
        for inputs, labels in self._batches(
            X, y, labeled=True, batch_size=batch_size, of=LABELED
        ):
            if y is None:
                n_outputs = (
                    self.n_outputs(X, of=LABELED) if n_outputs is None else n_outputs
                )
                self._at.batches.checked(labels, n_outputs)
            yield inputs, labels

    def checked_labels(self, X, y=None):
        """Return the labels of a labeled set as integers in [0, K), None where only the items of a
        Dataset have them.

        Raises
        ------
        InvalidDataError
            The labeled set is empty.
        InvalidLabelsError
            Labels are wrong, or missing.
        """
        if not count_rows(X):
            raise InvalidDataError(
                "the labeled set is empty; pass at least one labeled sample."
            )
        return (
            None
            if labels_of(X, y) is None
            else check_labels(y, count_rows(X), self.n_outputs(X, of=LABELED))
        )

    def n_outputs(self, X, *, of="the pool"):
        """Return K, from a forward pass of the first samples of X."""
        view = copy.copy(self)
        view._at = _Cursor()  # mini-batches that this one gives may be under way
        with view.reading(), torch.no_grad():
            inputs, _ = view.first_batches(X, of=of)[0]
            return view.forward(inputs).shape[1]

    def first_batches(self, X, y=None, *, labeled=False, of="the pool"):
        """Return the mini-batches (inputs, labels) of the first two samples: one, or two of samples
        that do not stack.

        Within `reading`.
        """
        first = take_rows(X, slice(0, 2))
        y = None if y is None else y[:2]
        try:
            size = (
                min(2, own_batch_size(self._net))
                if own_batch_size(self._net) > 0
                else 2
            )
            return list(
                self._batches(first, y, labeled=labeled, batch_size=size, of=of)
            )
        except UnstackableSampleError:
            return list(self._batches(first, y, labeled=labeled, batch_size=1, of=of))

    def _batches(self, X, y, *, labeled, batch_size=None, of="the pool"):
        size = self.batch_size(X, batch_size, of)
        if self.estimator is final_estimator(self.estimator):
            X = self._told_apart(X, y, labeled)
            yield from self.given(
                NetBatches(self._net, X, y, labeled=labeled, batch_size=size, of=of), 0
            )
            return
        start = 0
        for shard in iter_shards(
            X, _SHARD_BATCHES * size
        ):  # a pool is never transformed whole
            stop = start + count_rows(shard)
            rows = transform_rows(self.estimator, shard)
            part = None if y is None else y[start:stop]
            yield from self.given(
                NetBatches(
                    self._net, rows, part, labeled=labeled, batch_size=size, of=of
                ),
                start,
            )
            start = stop

    def _told_apart(self, X, y, labeled):
        """Return X with items that are told apart from labels that do not count."""
        return X if labeled and y is None else self.settled(X)[0]

    def given(self, batches, start):
        """Yield mini-batches; the view knows which one was given last."""
        with positions_from(start):
            for batch in batches:
                self._at.batches = batches
                self._at.start = start
                yield batch


class _Cursor:
    """The mini-batches that a view and its copies go through, and where in the data these start."""

    batches = None
    start = 0


def no_probabilities(net, row):
    """Return the words for a row of what should be class probabilities."""
    if getattr(net, "_trimmed_for_prediction", False):
        return (
            f"predict_proba of {type(net).__name__} gives rows that are not probabilities, such "
            f"as {row[:5]}. The net was trimmed for prediction, so predict_nonlinearity='auto' "
            "does not know its criterion any more. Set it: "
            "net.set_params(predict_nonlinearity=partial(torch.softmax, dim=1)) for a net of "
            "logits."
        )
    return (
        f"predict_proba of {type(net).__name__} gives rows that are not probabilities, such as "
        f"{row[:5]}. For a net of logits set predict_nonlinearity to a softmax."
    )


@contextmanager
def _without_fast_path():
    found = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(found)


def _refuse_shared(pairs, n):
    """Raise if losses of n samples depend on an output that belongs to no sample, such as a mean
    over all.
    """
    if shared := [tuple(x.shape) for x, _ in pairs if not x.ndim or len(x) != n]:
        raise UnsupportedEstimatorError(
            f"the net's get_loss depends on an output of the module of shape {shared[0]} for "
            f"{n} samples, so that no sample has a loss of its own. Let the module give one "
            "row per sample, and get_loss take their mean."
        )


def _rows_of(rows, n, values):
    """Return some rows of what belongs to n samples: of each tensor of which these are the first
    axis.
    """

    def cut(x):
        return x[rows] if x.ndim and len(x) == n else x

    return [tree_map(cut, value) for value in values]


def cloned(inputs):
    """Return a copy of a mini-batch."""
    return tree_map(lambda x: x.detach().clone(), inputs)


def _versions(inputs):
    return [version_of(tensor) for tensor in tree_leaves(inputs)]


def first_output(outputs):
    """Return the outputs (n, K) of a module: what it gives, or the first of several.

    Raises
    ------
    UnsupportedEstimatorError
        They are not a tensor with two axes and two classes or more.
    """
    given = outputs
    outputs = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    if hasattr(given, "logits"):
        raise UnsupportedEstimatorError(
            f"the net's module gives a {type(given).__name__}, which holds the outputs as "
            ".logits; return them from the module's forward, or from an infer of your own: "
            "class Net(NeuralNetClassifier) with def infer(self, x, **params): return "
            "super().infer(x, **params).logits."
        )
    if (
        not isinstance(outputs, torch.Tensor)
        or outputs.ndim != 2
        or outputs.shape[1] < 2
    ):
        found = (
            tuple(outputs.shape)
            if isinstance(outputs, torch.Tensor)
            else type(outputs).__name__
        )
        raise UnsupportedEstimatorError(
            f"the net's module gives {found}; skdal needs outputs of shape (n_samples, "
            "n_classes) with at least two classes (for two classes: two outputs and "
            "CrossEntropyLoss)."
        )
    return outputs


def open_net(estimator):
    """Return the NetView of a trained net (bare, frozen, or last in a Pipeline).

    Raises
    ------
    UnsupportedEstimatorError
        No skorch classifier, several modules, or a criterion without per-sample losses.
    NotFittedError
        The net is not initialized, or has lazy parameters.
    """
    check_net(estimator)
    check_fitted(estimator)
    net = final_estimator(estimator)
    modules = list(getattr(net, "_modules", ["module"]))
    if modules != ["module"]:
        raise UnsupportedEstimatorError(
            f"the net has the modules {modules}; skdal scores one. Put them into one module called "
            "`module`."
        )
    if any(
        isinstance(parameter, UninitializedParameter)
        for parameter in net.module_.parameters()
    ):
        raise NotFittedError(
            "the module has lazy parameters that are not initialized yet; fit the net first."
        )
    return NetView(estimator)


def shallow_copy(net, **attributes):
    """Return a net of the same class (overridden methods apply) with some attributes replaced."""
    view = object.__new__(type(net))
    view.__dict__.update(net.__dict__, **attributes)
    return view


def _per_sample_criterion(net):
    """Return a float64 copy of the net's criterion that reduces nothing."""
    if getattr(net, "_trimmed_for_prediction", False):
        raise UnsupportedEstimatorError(
            "the net was trimmed for prediction, which took its criterion away, and with it "
            "the losses that are needed here. Take the net as it was before "
            "trim_for_prediction, such as a copy.deepcopy of it."
        )
    criterion = unwrapped(net.criterion_)
    if not isinstance(criterion, torch.nn.Module) or not hasattr(
        criterion, "reduction"
    ):
        raise UnsupportedEstimatorError(
            f"the criterion {type(criterion).__name__} has no `reduction`, so it gives no "
            "per-sample losses. Use a torch criterion such as CrossEntropyLoss or NLLLoss, or "
            "give yours a `reduction` attribute that it obeys."
        )
    if any(parameter.requires_grad for parameter in criterion.parameters()):
        raise UnsupportedEstimatorError(
            f"the criterion {type(criterion).__name__} has trainable parameters, which are "
            "outside the module; move them into the module."
        )
    criterion = copy.deepcopy(criterion).double()
    criterion.reduction = "none"
    return criterion


def _is_softmax(outputs):
    """Tell whether `outputs` (n, K) come straight from a softmax over the classes."""
    return is_softmax_of_rows(outputs.grad_fn)


def _without_cancellation(gradient, outputs):
    """Shift each row of d(loss)/d(probabilities) by a constant, which a softmax ignores.

    Its backward pass p * (g - sum(g * p)) loses the digits of 1 - p_k in float32 where p_k is
    nearly one; with g_k = 0 there it is a sum of small terms of one sign.
    """
    return gradient - gradient.gather(1, outputs.detach().argmax(1, keepdim=True))
