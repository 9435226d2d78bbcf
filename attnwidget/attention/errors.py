"""What goes wrong with attention, and what is merely worth knowing."""


class CaptureError(RuntimeError):
    """A run could not be captured, or a capture cannot answer yet; the text says what to do."""


class AttentionWarning(UserWarning):
    """The weights are shown as they are, and something about them is unusual."""
