"""The verbs of the command line: one module each, with `run(arguments)` and a first docstring line that says its use."""
