"""Every architecture of the installed transformers, made tiny, run, and compared with its own attention."""
