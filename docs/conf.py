"""How the documentation is built: ``sphinx-build -W docs build/docs``."""

import json
import shutil
from pathlib import Path

import refspace

project = "refspace"
author = "the refspace developers"
copyright = f"2026, {author}"
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

_HERE = Path(__file__).parent


def _code(notebook: Path) -> list[str]:
    """Cells of code of a notebook; none of one that is not there."""
    if not notebook.exists():
        return []
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _gather_notebooks() -> list[str]:
    """Put notebooks beside the pages; those that the tests have executed need no second time."""
    executed = []
    (_HERE / "notebooks").mkdir(exist_ok=True)
    for source in sorted((_HERE.parent / "notebooks").glob("*.ipynb")):
        tested = _HERE.parent / "build/notebooks" / source.name
        if _code(tested) == _code(source):
            executed.append(f"notebooks/{source.name}")
            source = tested
        shutil.copy2(source, _HERE / "notebooks" / source.name)
    return executed


# Examples of pages are run by the tests. Notebooks that these have executed are shown as they left
# them; any other is executed here.
nb_execution_mode = "force"
nb_execution_excludepatterns = _gather_notebooks()
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
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
# Room for lines of code.
html_sidebars = {"notebooks/*": []}
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
# Built for reading: nothing is fetched from other machines.
html_show_sourcelink = False
