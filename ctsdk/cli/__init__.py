"""The command line: each command calls functions of the package and prints what they return.

Modules in reading order::

    options      options that several commands share
    trackers     how commands name and load a tracker
    reports      how evaluations are printed, written and drawn
    adapters     ``adapters``
    new_adapter  ``new-adapter``
    check        ``check``
    compress     ``compress``
    track        ``track``
    evaluate     ``evaluate``
    score        ``score``
    pack         ``pack``
    profile      ``profile``
    demo         ``demo``
    data         ``data check``, ``data formats``
    main         the program: commands, exit codes, logging

Results go to stdout; progress, logs and errors to stderr. The exit code is 0 for success, 1 for an error that ctsdk
explains, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
"""

from ctsdk.cli.main import app, main

__all__ = ["app", "main"]
