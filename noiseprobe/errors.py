"""What the user can mend: errors that the command line reports in one line."""


class UserError(ValueError):
    """The user's input is wrong; the message names what, where and the mend, in one line.

    The command line prints the message and exits with code 2. Any other exception is ours.
    """


class Interrupted(Exception):
    """The user stopped a stage with Ctrl-C; what was done is saved and can be resumed."""
