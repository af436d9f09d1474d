"""The command line: each command calls functions of the package and prints what they return.

==============================  ==================================================
module, in reading order        what it holds
==============================  ==================================================
:mod:`ctsdk.cli.options`        options that several commands share
:mod:`ctsdk.cli.trackers`       how commands name and load a tracker
:mod:`ctsdk.cli.reports`        how evaluations are printed, written and drawn
:mod:`ctsdk.cli.adapters`       ``adapters``
:mod:`ctsdk.cli.new_adapter`    ``new-adapter``
:mod:`ctsdk.cli.check`          ``check``
:mod:`ctsdk.cli.compress`       ``compress``
:mod:`ctsdk.cli.track`          ``track``
:mod:`ctsdk.cli.evaluate`       ``evaluate``
:mod:`ctsdk.cli.score`          ``score``
:mod:`ctsdk.cli.pack`           ``pack``
:mod:`ctsdk.cli.profile`        ``profile``
:mod:`ctsdk.cli.demo`           ``demo``
:mod:`ctsdk.cli.data`           ``data check``, ``data formats``
:mod:`ctsdk.cli.main`           the program: commands, exit codes, logging
==============================  ==================================================

Results go to stdout; progress, logs and errors to stderr. The exit code is 0 for success, 1 for an error that ctsdk
explains, 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
"""

from ctsdk.cli.main import app, main

__all__ = ["app", "main"]
