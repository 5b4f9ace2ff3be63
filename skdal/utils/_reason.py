"""What a foreign error says, in few words."""


def reason(error):
    """Return the first line of an error's message, or the name of its class where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
