"""Results in words: what each command prints on stdout, by the modules of the command line."""
