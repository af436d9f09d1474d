"""Find adapters by name, and write new ones.

Modules in reading order::

    info       the record that lists of adapters and of data set formats are made of
    kind       one kind of plug-in: its hook, and the version of its contract
    source     where one plug-in comes from: its hook is called, its faults are named
    discovery  entry points of installed packages, and what this process registered
    adapters   the hook of adapter packages, and the functions that users call
    skeleton   a new adapter package from the templates in ``templates/``

Data set formats plug in the same way: see :mod:`ctsdk.data.formats`. Importing this package imports no plug-in.
"""

from ctsdk.plugins.discovery import clear_registered
from ctsdk.plugins.info import PluginInfo

__all__ = ["PluginInfo", "clear_registered"]
