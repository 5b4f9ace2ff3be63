"""The refusal of a backend to handle a module."""


class Uncovered(Exception):
    """A backend cannot account for these parameters.

    It is internal: the choice of backend handles it.

    Attributes
    ----------
    problems : dict of str to str
        Parameter name to the reason.
    """

    def __init__(self, problems):
        reasons = [f"{name}: {reason}" for name, reason in problems.items()]
        super().__init__("; ".join(reasons))
        self.problems = problems
