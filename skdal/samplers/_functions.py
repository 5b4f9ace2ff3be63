"""The function form of a sampler, for modAL: `ActiveLearner(query_strategy=dynamical_sampling)`."""


def as_function(sampler_class, name):
    """Return a query-strategy function that makes a `sampler_class` and calls it.

    Parameters
    ----------
    sampler_class : type
        A sampler whose state does not live from round to round.
    name : str
        The function's name, which is also the attribute of `skdal.samplers` that it is pickled by.

    Returns
    -------
    callable
    """

    def sampling(classifier, X, n_instances=1, *, X_labeled=None, y_labeled=None, **sampler_params):
        sampler = sampler_class(**sampler_params)
        return sampler(classifier, X, n_instances, X_labeled=X_labeled, y_labeled=y_labeled)

    sampling.__name__ = sampling.__qualname__ = name
    sampling.__module__ = "skdal.samplers"
    sampling.__doc__ = f"""Choose samples as `{sampler_class.__name__}` does; a modAL query strategy.

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
        Parameters of `{sampler_class.__name__}`.

    Returns
    -------
    indices : intp array (n_instances,)
        Positions in X, best first, unique.
    """
    return sampling
