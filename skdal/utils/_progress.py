"""The progress bar of `verbose=1`."""

from tqdm.auto import tqdm


def progress_bar(n_samples, description, verbose, unit="samples"):
    """Return a tqdm bar that counts samples; it is silent where `verbose` is 0.

    Parameters
    ----------
    n_samples : int
        Samples at 100 %.
    description : str
        What is being done, at the left of the bar.
    verbose : int
        0 for no output.
    unit : str, default="samples"
        What is counted.

    Returns
    -------
    tqdm
        Use it in a `with` block; `bar.update(n)` advances it by n samples.
    """
    return tqdm(total=n_samples, desc=description, unit=f" {unit}", disable=not verbose)
