"""The command line: each command calls functions of the package and prints what they return.

==============================  =====================================================
module, in reading order        what it holds
==============================  =====================================================
:mod:`ctsdk.cli.options`        options that several commands share
:mod:`ctsdk.cli.adapters`       ``adapters``, ``new-adapter``, ``check``
:mod:`ctsdk.cli.compressing`    ``compress``, ``demo``
:mod:`ctsdk.cli.following`      ``track``, ``profile``
:mod:`ctsdk.cli.evaluating`     ``evaluate``, ``score``, ``pack``
:mod:`ctsdk.cli.data`           ``data check``, ``data formats``
:mod:`ctsdk.cli.main`           the program: commands, exit codes, logging
==============================  =====================================================

Results go to stdout; progress, logs and errors to stderr. The exit code is 0 when all went well, 1 for an error that
ctsdk explains, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
"""

from ctsdk.cli.main import app, main

__all__ = ["app", "main"]
