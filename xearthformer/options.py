"""Settings of the session, in the manner of xarray's own: `xef.set_options(progress=False)`."""

from types import TracebackType
from typing import Any

OPTIONS: dict[str, Any] = {"progress": True}


class set_options:
    """Change settings, for good or inside a `with` block.

    Parameters
    ----------
    progress : bool
        Whether a forecast in memory that takes longer than two seconds shows a bar on stderr. Lazy
        forecasts show dask's own: `dask.diagnostics.ProgressBar`, or the dashboard.

    Raises
    ------
    ValueError
        A setting there isn't; a value of another type.

    Examples
    --------
    >>> with set_options(progress=False):
    ...     OPTIONS["progress"]
    False
    >>> OPTIONS["progress"]
    True
    """

    def __init__(self, **settings: bool) -> None:
        for name, value in settings.items():
            if name not in OPTIONS:
                raise ValueError(f"expected one of {', '.join(OPTIONS)}\n   found {name!r}")
            if not isinstance(value, bool):
                raise ValueError(f"expected {name} as True or False\n   found {value!r}")
        self._before = {name: OPTIONS[name] for name in settings}
        OPTIONS.update(settings)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        OPTIONS.update(self._before)
