"""Small things that the rooms below need: warnings, files, threads, and all that is private in Keras."""
