"""The one exception that means: what was given cannot be used."""


class InputError(ValueError):
    """Something given from outside (a file, an array, an option) is wrong.

    The message is one line that names what was wrong and what was expected; the command line prints it without a
    traceback.
    """
