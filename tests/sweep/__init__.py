"""Every architecture of the installed transformers, made tiny, run, and its captured attention compared with its own."""
