"""The function form of a sampler, for modAL: `ActiveLearner(query_strategy=dynamical_sampling)`."""


def check_trial_of(strategy):
    """Return what a query strategy of ours asks of a net before it is trained; None for strategies
    of others.

    Parameters
    ----------
    strategy : callable
        A sampler, the function form of one, or any other query strategy.

    Returns
    -------
    callable or None
        `check(trial)` raises if the strategy will not be able to ask the net.
    """
    sampler = strategy.make() if hasattr(strategy, "make") else strategy
    return getattr(sampler, "_check_trial", None)


def is_stateless(make):
    """Return whether samplers of a factory learn nothing from round to round, so that a function
    can make one anew.

    Parameters
    ----------
    make : sampler class, or partial of one
        A class whose instances learn declares `keeps_state_over_rounds = True`, as callbacks of
        nets do.

    Returns
    -------
    bool
    """
    cls = getattr(make, "func", make)
    return not getattr(cls, "keeps_state_over_rounds", False)


def as_function(key, samplers):
    """Return the query-strategy function of a sampler: it makes one and calls it.

    Parameters
    ----------
    key : str
        Of a sampler whose state does not live from round to round. The function's name is
        KEY_sampling, which is also the attribute of `skdal.samplers` that it is pickled by.
    samplers : dict of str to factory
        The registry.

    Returns
    -------
    callable
    """
    make = samplers[key]
    name = getattr(make, "__name__", None) or f'SAMPLERS["{key}"]'

    def sampling(
        classifier,
        X,
        n_instances=1,
        *,
        X_labeled=None,
        y_labeled=None,
        **sampler_params,
    ):
        sampler = make(**sampler_params)
        return sampler(
            classifier, X, n_instances, X_labeled=X_labeled, y_labeled=y_labeled
        )

    sampling.make = make
    sampling.__name__ = sampling.__qualname__ = f"{key}_sampling"
    sampling.__module__ = "skdal.samplers"
    sampling.__doc__ = f"""Choose samples as `{name}` does; a modAL query strategy.

    Parameters
    ----------
    classifier : modAL learner, fitted sampler, or fitted classifier
        A learner's `X_training` and `y_training` are the labeled set.
    X : data (n_pool, ...)
        The pool.
    n_instances : int, default=1
        How many to label.
    X_labeled, y_labeled : data, optional
        The labeled set, where the classifier does not hold it.
    **sampler_params
        Parameters of `{name}`.

    Returns
    -------
    indices : intp array (n_instances,)
        Positions in X, best first, unique.
    """
    return sampling
