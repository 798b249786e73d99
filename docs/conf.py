"""How the documentation is built: ``sphinx-build -W docs build/docs``."""

import refspace

project = "refspace"
author = "the refspace developers"
copyright = f"2026, {author}"  # noqa: A001  # Sphinx's name
release = version = refspace.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["build"]

# Pages are tested by pytest, which runs their examples; notebooks are executed by the tests too.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "py:obj"
templates_path = ["_templates"]

# Links to files of the repository, which a test follows: a site has pages alone.
suppress_warnings = ["myst.xref_missing"]

# What is copied of an example is what one types.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "refspace"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
# Built for reading: nothing is fetched from other machines.
html_show_sourcelink = False
