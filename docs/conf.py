"""How the documentation is built: `make docs`; warnings are errors there.

The API reference is made from docstrings, the gallery by running its scripts, the help of the
command line by asking for it, the list of error messages from the source. Nothing is fetched.
"""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

import sphinx_autosummary_accessors
import xarray
from docutils.nodes import Element, SkipNode, math, math_block
from latex2mathml.converter import convert
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # figures.py, messages.py
os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars in the gallery

import figures  # noqa: E402
import messages  # noqa: E402

import xearthformer  # noqa: E402

project = "xearthformer"
author = "The xearthformer developers"
copyright = author
version = release = xearthformer.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_autosummary_accessors",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "sg_execution_times.rst"]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]

# --- the API reference

autosummary_generate = True
numpydoc_show_class_members = False
python_maximum_signature_line_length = 90
default_role = "py:obj"  # `forecast` in a docstring is a link where such a name is documented
nitpicky = True
nitpick_ignore_regex = [
    ("py:(?!class$).*", "(?!xearthformer).*"),  # other projects' names
    # Every type in a signature leads somewhere, but for these, and for the parts of ArrayLike.
    ("py:class", r".*\b(Catalog|ConfigDict|FSMap|Store|_\w+)"),
]

# --- other projects' reference

# Kept as files: the build needs no network. They hold the names that signatures here have, in the
# form of Sphinx's first inventories, which is text: name, role, page.
INVENTORIES = HERE / "inventories"
intersphinx_mapping = {
    project: (address, f"inventories/{project}.txt")
    for project, address in {
        "matplotlib": "https://matplotlib.org/stable/",
        "numpy": "https://numpy.org/doc/stable/",
        "pandas": "https://pandas.pydata.org/docs/",
        "python": "https://docs.python.org/3/",
        "torch": "https://docs.pytorch.org/docs/stable/",
        "xarray": "https://docs.xarray.dev/en/stable/",
    }.items()
}
THEIRS = {  # by their last word, as a signature may say xr.DataArray, or where a class is defined
    name.rpartition(".")[2]: name
    for file in sorted(INVENTORIES.glob("*.txt"))
    for name in re.findall(r"^(\w[\w.]*) ", file.read_text(), re.MULTILINE)
}

# --- pages

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"

# --- the gallery

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 5,
    "ignore_repr_types": "matplotlib|list",  # what drawing returns
}
xarray.set_options(display_expand_data=False)  # labels say more than numbers

# --- the looks

html_theme = "pydata_sphinx_theme"
html_title = "xearthformer"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
alone = "index", "start", "skill", "security", "contributing", "changelog"  # pages of no section
html_sidebars = dict.fromkeys(alone, [])


def write_help(app: Sphinx) -> None:
    """Write what `xearthformer COMMAND --help` prints to a file per command, for the reference."""
    from xearthformer.cli import COMMANDS, main

    folder = HERE / "api" / "help"
    folder.mkdir(exist_ok=True)
    os.environ["COLUMNS"] = "88"
    for name, command in COMMANDS.items():
        for action in command if isinstance(command, dict) else [""]:
            words = [name, action] if action else [name]
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
                main([*words, "--help"])
            (folder / f"{'-'.join(words)}.txt").write_text(printed.getvalue())


def write_messages(app: Sphinx) -> None:
    """Write what errors and warnings say, by room, so that a search finds their first words."""
    folder = HERE / "api" / "help"
    folder.mkdir(exist_ok=True)
    (folder / "errors.txt").write_text(messages.page(), encoding="utf-8")


def write_figures(app: Sphinx) -> None:
    """Draw the figures of "How it works", unless their script is the one that drew them."""
    figures.draw_all(HERE / "figures")


def own_signature(
    app: Sphinx, what: str, name: str, documented: object, *rest: object
) -> tuple[str, str] | None:
    """Leave out the signature that pydantic makes of a card, whose attributes say it in words."""
    is_section = isinstance(documented, type) and issubclass(documented, BaseModel)
    return ("", "") if is_section else None


def link_type(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """Link a type in a signature: ours where it is documented, other projects' by `THEIRS`."""
    if node.get("reftype") != "class":
        return None
    name = node["reftarget"].rpartition(".")[2]
    python = env.get_domain("py")
    for ours in f"xearthformer.{name}", name:  # a class, or a short name of api/types
        if ours in python.objects:
            place = env, node["refdoc"], app.builder
            return python.resolve_xref(*place, "obj", ours, node, content)
    node["reftarget"] = THEIRS.get(name, node["reftarget"])
    return content if node["reftarget"].startswith("xearthformer") else None


def code_or_link(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """Return words in single backticks as code where they name nothing that is documented.

    A full name of ours that isn't there stays a warning.
    """
    ours = re.fullmatch(r"xearthformer(\.\w+)*", node["reftarget"])
    return content if node.get("reftype") == "obj" and not ours else None


def inline_math(translator: HTML5Translator, node: math) -> None:
    """Write an equation as MathML, which browsers draw themselves: no script is fetched."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def block_math(translator: HTML5Translator, node: math_block) -> None:
    """Write a displayed equation as MathML."""
    equation = convert(node.astext(), display="block")
    translator.body.append(f'<div class="equation">{equation}</div>')
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Connect the above to the build."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("builder-inited", write_help)
    app.connect("builder-inited", write_messages)
    app.connect("builder-inited", write_figures)
    app.connect("autodoc-process-signature", own_signature)
    app.connect("missing-reference", link_type, priority=400)  # before intersphinx
    app.connect("missing-reference", code_or_link)
