"""What isn't typed in the table, and why: a place and the reason, or its texts and reasons.

A reason that is a test's name says where a line is typed elsewhere, as it is printed.
"""

INSIDE = "of a function inside the package, whose callers prepare the data: no door leads there"
WITH = "typed on the way, in a case of "
ICAR = "tests/datasets/test_icar_enso.py::"

EXCEPTED: dict[str, str | dict[str, str]] = {
    "cli.score:_check_xro": {
        "--fit {} {}": "tests/cli/test_xro_row.py::test_hints",
        "--anomaly {} {}": WITH + "cli.score:verify_file",
    },
    "comparison.papers:enso_table": ICAR + "test_the_papers_table_of_a_folder",
    "comparison.papers:on_icar_grid": ICAR + "test_the_papers_table_of_a_folder",
    "datasets.icar_enso:open_icar_enso": ICAR + "test_what_is_refused",
    "datasets.radar.files:open_one": {
        "{} -k {}, in a shell": "tests/datasets/test_radar_files.py::test_hdf5_that_is_packed"
    },
    "datasets.radar.odim:check_product": {
        "xradar.io.open_odim_datatree({})": "tests/datasets/test_odim.py::test_xradar_opens_volumes"
    },
    "datasets.sevir.files:_open": "needs an address that asks for credentials",
    "fields.cf:restore": INSIDE,
    "fields.regrid:_centres": INSIDE,
    "fields.regrid:_steps": INSIDE,
    "fields.units:convert_units": {
        "da.pint.dequantify()": "needs pint-xarray; doors take Pint arrays as plain numbers"
    },
    "hindcasts.hindcast:_check_finished": "needs icechunk: see tests/hindcasts/test_sessions.py",
    "hindcasts.hindcast:_check_data": (
        "tests/hindcasts/test_hindcast_growth.py::test_a_frame_that_comes_late_is_named"
    ),
    "inference.inputs:_check_values": {
        "ds.assign({{}: {}}), or {}": "of rain among several inputs: two of the other lines",
    },
    "inference.xro:_years": WITH + "inference.xro:_one_record",
    "inference.xro:_without": WITH + "inference.xro:_one_record",
    "training.stages:check_crop": WITH + "training.stages:choose",
    "packs.published:_network": (
        "tests/packs/test_packs.py::test_convert_a_checkpoint_of_the_published_training"
    ),
}
