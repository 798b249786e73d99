"""Why parts of a job fail, in a line each, and which failures stop the whole job."""


def one_line(error: BaseException | None) -> str:
    r"""Text of an error and its notes, in one line.

    Examples
    --------
    >>> one_line(ValueError("of two\nlines"))
    'of two lines'
    """
    notes = getattr(error, "__notes__", ())
    texts = [" ".join(str(text).split()) for text in (error, *notes)]
    return "; ".join(filter(None, texts)) or type(error).__name__


def raise_if_hopeless(error: Exception | None) -> None:
    """Raise an error that all other parts would meet too: a full disk, a target that is gone."""
    # Errors of the system have a number; those of refspace, as of a damaged file, have none.
    if isinstance(error, OSError) and error.errno is not None:
        raise error
