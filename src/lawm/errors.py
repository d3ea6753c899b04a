"""The one exception that a user's mistake raises."""


class LawmError(ValueError):
    """A mistake in what the user gave, told in sentences.

    The message says what is wrong, in which file or key, the value found, what was expected and
    what to do. The command line prints it without a traceback and exits with code 2.
    """


__all__ = ["LawmError"]
