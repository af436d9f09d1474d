"""Find adapters by name, and write new ones.

==============================  ====================================================================
module, in reading order        what it holds
==============================  ====================================================================
:mod:`ctsdk.plugins.discovery`  entry points of installed packages, and what this process registered
:mod:`ctsdk.plugins.adapters`   the hook of adapter packages, and the functions that users call
:mod:`ctsdk.plugins.skeleton`   a new adapter package from the templates in ``templates/``
==============================  ====================================================================

Data set formats plug in the same way: see :mod:`ctsdk.data.formats`. Importing this package imports none of them.
"""
