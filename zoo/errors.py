"""Errors that a user can fix: one line that names the place and the fix."""

from zoo.messages import Message


class InputError(ValueError):
    """A setting, a file or a row that cannot be used. `python -m zoo.run` prints it, exit status 2.

    >>> import zoo
    >>> try:
    ...     zoo.train("task=classify", "train.epochs=-1")
    ... except zoo.InputError as error:
    ...     print(error)
    train.epochs=-1: Input should be greater than or equal to 1
    """


class RowError(InputError):
    """A row that cannot be used; the message begins with its place, `reviews.csv:17: …`."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(Message("{source}: {message}", {"source": source, "message": message}))
