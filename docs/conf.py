"""Sphinx: `sphinx-build -W -b html docs docs/_build`."""

from importlib import metadata

project = "ctsdk"
author = "The ctsdk authors"
copyright = "2026, The ctsdk authors"  # noqa: A001 - the name that Sphinx reads
release = version = metadata.version("ctsdk")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ctsdk {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

napoleon_numpy_docstring = False
# Types stand in the signatures; written again below, `bool_` would read as a link.
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
