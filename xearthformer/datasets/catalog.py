"""The catalogues that ship: SEVIR, El Nino's data and N-body digits, for Intake.

The YAML files beside this one are Intake 2 catalogues; `intake.open_catalog(path)` opens them too.
Nothing is fetched before an entry's `.read()`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import mismatch

if TYPE_CHECKING:
    from intake.readers.entry import Catalog  # type: ignore[import-untyped]

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def open_catalog(name: str | None = None) -> "Catalog":
    """Open one of the catalogues that ship with the package.

    Parameters
    ----------
    name : {None, "enso", "nbody", "sevir"}
        None: the entries of them all.

    Returns
    -------
    intake Catalog
        `list(cat)` are the names of its entries. `cat[entry].read()` gives a lazy Dataset;
        `.read(data_root="...")` that of a copy of your own, in a folder or at an address; further
        arguments go to the function that opens it, such as `.read(split="test")`.

    Raises
    ------
    ValueError
        No catalogue of this name. Another's file is opened by `intake.open_catalog(path)`: it can
        call any function, and so asks for your trust.
    ImportError
        Intake isn't installed.

    Examples
    --------
    >>> cat = open_catalog("enso")
    >>> "ersst_v5" in cat
    True
    >>> cat["synthetic_sst"].read(years=2)["sst"].sizes
    Frozen({'time': 24, 'lat': 89, 'lon': 180})
    """
    if name is not None and name not in FILES:
        raise mismatch(
            f"the name of a catalogue that ships: {', '.join(FILES)}",
            repr(name),
            "intake.open_catalog(path) for a file from elsewhere, if you trust it: it can call "
            "any function",
        )
    try:
        from intake.readers.entry import Catalog
    except ImportError as error:
        raise ImportError('catalogues need Intake: pip install "xearthformer[catalog]"') from error
    catalog = Catalog()
    for path in FILES.values() if name is None else [FILES[name]]:
        catalog += Catalog.from_yaml_file(str(path))
    return catalog
