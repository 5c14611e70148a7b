"""The commands that score: verify, on the user's own data; table, as the papers do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..datasets.local import open_file
from .files import check_target, parse_inits, select_variable, write_file

if TYPE_CHECKING:
    import xarray as xr

RAIN = "rainfall_rate"
REFLECTIVITY = "equivalent_reflectivity_factor"


def verify_file(
    input: str,
    *,
    packs: Sequence[str],
    init: Sequence[str] | None = None,
    lead: int | None = None,
    thresholds: Sequence[float] | None = None,
    window: float | str = "16 km",
    variable: str | None = None,
    anomaly: tuple[str, str] | None = None,
    by_lead: bool = False,
    output: str | None = None,
    device: str = "auto",
) -> None:
    """Forecast from every time of a file with several packs, and score them on the file itself.

    Prints events, errors and CRPS; for an ensemble those of its members, pooled, and of its mean.

    Parameters
    ----------
    lead : int
        Number of time steps; as far as all packs reach when not given.
    window : float or str
        Width of the neighbourhoods of FSS: pixels, or a length.
    """
    target = None if output is None else check_target(output, overwrite=False)
    from ..comparison.compare import compare, lead_tables, summary
    from ..fields.time_axis import str_time

    inits = slice(None) if init is None else parse_inits(init)
    with _data(input, packs, variable, anomaly) as da:
        result = compare(
            da,
            packs,
            init=inits,
            lead=lead,
            thresholds=thresholds,
            window=window,
            device=device,
        )
    first, last = (str_time(stamp) for stamp in result["init"].values[[0, -1]])
    words = f"{result.attrs['pairs']}, {first} to {last}; means over the leads"
    if "threshold" in result:
        words += f"; thresholds in {result['threshold'].attrs.get('units', 'units of the data')}"
    left_out = result["left_out"].sum("lead")
    if left_out.any():
        name = left_out.idxmax("forecast").item()
        words += "; all are scored where each has a value, which leaves out "
        words += f"{left_out.sel(forecast=name).item()} pairs of {name}"
    print(f"{input}: {da.name}, {words}\n{summary(result)}")
    if by_lead:
        print(f"\n{lead_tables(result)}")
    if target is not None:
        write_file(result.assign_attrs(Conventions="CF-1.8", source=input), target)


def sevir_scores(*, data: str, packs: Sequence[str], device: str = "auto") -> None:
    """Score packs on the test events of SEVIR, next to the results of the Earthformer paper.

    Parameters
    ----------
    data : str
        SEVIR's folder or URL.
    """
    from ..comparison.papers import sevir_table, text
    from ..datasets.sevir.backend import open_sevir

    with open_sevir(data, split="test") as ds:
        print(text(sevir_table(ds["vil"], packs, device)))


def icar_enso_scores(*, data: str, packs: Sequence[str], device: str = "auto") -> None:
    """Score packs on the test simulations of ICAR-ENSO, next to those of the Earthformer paper.

    Parameters
    ----------
    data : str
        The folder with CMIP_train.nc.
    """
    from ..comparison.papers import enso_table, text
    from ..datasets.icar_enso import open_icar_enso

    with open_icar_enso(data, split="test") as ds:
        print(text(enso_table(ds["sst"], packs, device)))
    print("MSE here is over the cells that a pack forecasts.")


@contextmanager
def _data(
    input: str, packs: Sequence[str], variable: str | None, anomaly: tuple[str, str] | None
) -> "Iterator[xr.DataArray]":
    """Open the variable named, or the one that the packs ask for; rain through `open_radar`."""
    from ..comparison.compare import EXTRAPOLATION
    from ..datasets import radar
    from ..fields import quantities
    from ..packs.pack import open_pack

    cards = [open_pack(name).card for name in packs if name != EXTRAPOLATION]
    particular = [card for card in cards if card.input.standard_name]  # persistence takes anything
    quantity = particular[0].input if particular else None
    rain = EXTRAPOLATION in packs if quantity is None else quantity.standard_name == RAIN
    difference = quantity is not None and quantity.difference and anomaly is None
    with open_file(input) as ds:
        in_fives = any(card.time_step == "5min" for card in particular)
        reflectivity = quantities.has(ds, REFLECTIVITY) and not quantities.has(ds, RAIN)
        if variable is None and rain and (in_fives or reflectivity):
            yield radar.open_radar(ds)
            return
        name = RAIN if rain else quantity.standard_name if quantity else None
        name = variable or quantities.find_variable(ds, standard_name=name, difference=difference)
        yield select_variable(ds, name, anomaly)
