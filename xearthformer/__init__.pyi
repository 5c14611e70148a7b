# The public names and where they live: read by lazy_loader, by type checkers and by editors.

from . import models as models
from . import packs as packs
from .climate.baseline import rebase as rebase
from .climate.climatology import anomaly as anomaly
from .climate.climatology import climatology as climatology
from .climate.climatology import running_mean as running_mean
from .climate.regions import Region as Region
from .climate.regions import index as index
from .climate.regions import region_mean as region_mean
from .comparison.compare import compare as compare
from .comparison.papers import enso_table as enso_table
from .datasets.catalog import open_catalog as open_catalog
from .datasets.icar_enso import open_icar_enso as open_icar_enso
from .datasets.radar import open_radar as open_radar
from .datasets.sevir.backend import open_sevir as open_sevir
from .datasets.sevir.backend import sevir_windows as sevir_windows
from .datasets.sevir.vil import kg_m2_to_vil as kg_m2_to_vil
from .datasets.sevir.vil import rain_of_vil as rain_of_vil
from .datasets.sevir.vil import to_sevir_lr as to_sevir_lr
from .datasets.sevir.vil import vil_of_rain as vil_of_rain
from .datasets.sevir.vil import vil_to_kg_m2 as vil_to_kg_m2
from .datasets.simulated.nbody import nbody as nbody
from .datasets.simulated.sst import synthetic_sst as synthetic_sst
from .datasets.simulated.storms import synthetic_storms as synthetic_storms
from .errors import PackError as PackError
from .hindcasts.hindcast import hindcast as hindcast
from .inference.forecast import forecast as forecast
from .inference.guidance import Frames as Frames
from .inference.guidance import anticipated_intensity as anticipated_intensity
from .inference.guidance import constraint as constraint
from .inference.optical_flow import extrapolate as extrapolate
from .models.prediff.samplers import Sampler as Sampler
from .packs.pack import Pack as Pack
from .packs.pack import list_packs as list_packs
from .packs.pack import open_pack as open_pack
from .packs.pack import save_pack as save_pack
from .packs.published import convert as convert
from .training.recipe import Recipe as Recipe
from .training.train import train as train
from .verification.enso import enso_skill as enso_skill
from .verification.probabilistic import exceedance as exceedance
from .verification.verify import verify as verify

__version__: str
