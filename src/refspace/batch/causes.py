"""Why parts of a job fail."""


def cause_of(error: BaseException | None) -> str:
    """What an error and its notes say, in one line."""
    notes = getattr(error, "__notes__", ())
    texts = [" ".join(str(text).split()) for text in (error, *notes)]
    return "; ".join(filter(None, texts)) or type(error).__name__


def raise_if_hopeless(error: Exception | None) -> None:
    """Raise an error that all other parts would meet too: a full disk, a target that is gone."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error
