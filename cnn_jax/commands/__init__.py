"""The verbs of the command line: one module each, with `run(arguments)`; the first docstring line says its use."""
