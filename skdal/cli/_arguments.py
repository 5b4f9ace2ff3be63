"""What the verbs' arguments share."""

import argparse


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there are any."""

    def _get_help_string(self, action):
        return (
            action.help
            if action.default in (None, False)
            else super()._get_help_string(action)
        )


def positive(text):
    """Return the positive integer that a text is, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            f"must be an integer of at least 1; got {text!r}"
        )
    return value
