"""Skill against a row of the table, and further scores, in Python and by `xearthformer verify`."""

import dataclasses

import pytest
from test_compare import file, flow, rain  # noqa: F401  (fixtures)

import xearthformer as xef
from xearthformer.cli import main
from xearthformer.comparison.compare import compare, given_forecast
from xearthformer.comparison.tables import confidence_tables, skill_table, summary


@pytest.fixture
def rows(rain):  # noqa: F811
    """Persistence, and a forecast that is half as wrong."""
    still = rain.earthformer.forecast("persistence", init=list(rain.time.values[:9]), lead=3)
    seen = rain.sel(time=still["valid_time"]).drop_vars("time")
    near = (still + seen) / 2
    return ["persistence", given_forecast("near", near.assign_attrs(still.attrs))]


def test_skill_against_a_row_is_that_of_verify(rain, rows):  # noqa: F811
    found = compare(rain, rows, reference="persistence", scores=["sal_amplitude"], window=3)
    assert found["mse_pooled_skill"].values == pytest.approx([0, 3 / 4])
    assert found["rmse_skill"].sel(forecast="near").values == pytest.approx([1 / 2] * 3)
    still = rain.earthformer.forecast("persistence", init=list(rain.time.values[:9]), lead=3)
    near = rows[1].run(rain, list(rain.time.values[:9]), 3)
    alone = xef.verify(near, rain, window=3, reference=still)
    for name in ("csi_skill", "fss_pooled_skill", "ets_skill"):
        one = found[name].sel(forecast="near").drop_vars("forecast")
        assert one.values == pytest.approx(alone[name].values, nan_ok=True)
    text = summary(found, ["far", "sal_amplitude"])
    assert "FAR" in text and "sal_amplitude" in text and "ETS" not in text
    lines = skill_table(found, "persistence").splitlines()
    (mse,) = [line.split() for line in lines if line.startswith("MSE")]
    assert mse == ["MSE", "0.000", "0.750"]
    assert "-" not in "".join(lines[1:])


def test_skill_has_intervals_of_inits_drawn_together(rain, rows):  # noqa: F811
    found = compare(rain, rows, reference="persistence", confidence=0.9, window=3)
    near = found.sel(forecast="near")
    # half as wrong in each resample
    assert near["rmse_pooled_skill_low"].item() == pytest.approx(0.5)
    assert near["rmse_pooled_skill_high"].item() == pytest.approx(0.5)
    assert near["csi_pooled_skill_low"].sel(threshold=1) < near["csi_pooled_skill"].sel(threshold=1)
    assert "0.750 (0.750 to 0.750)" in skill_table(found, "persistence")
    assert " to " in confidence_tables(found, ["far"]) and "FAR 0.5" in confidence_tables(
        found, ["far"]
    )


@pytest.mark.parametrize(
    ("arguments", "words", "mended"),
    [
        ({"reference": "lim"}, "a reference among persistence, near\n +found 'lim'", "reference"),
        ({"scores": ["skill"]}, "scores among mse, .*\n +found 'skill'", "scores"),
    ],
)
def test_names_are_looked_up_before_anything_is_forecast(rain, rows, arguments, words, mended):  # noqa: F811

    def run(*_):
        raise AssertionError("something was forecast")

    with pytest.raises(ValueError, match=words) as error:
        compare(rain, [rows[0], dataclasses.replace(rows[1], run=run)], **arguments)
    hint = str(error.value).split("try ")[1]
    assert mended in hint
    eval(f"compare(rain, rows, window=3, {hint})")


def test_the_command_prints_skill_and_further_scores(flow, file, capsys):  # noqa: F811
    arguments = ["verify", str(file), "--packs", "persistence", "pysteps", "--lead", "3"]
    arguments += ["--window", "2", "--fss-table", "--reference", "persistence", "--scores", "far"]
    main([*arguments, "ets"])
    text = capsys.readouterr().out
    header = text.splitlines()[1]
    assert "CSI" in header and "FAR" in header and "ETS" in header
    assert "Skill against persistence, all leads together: 1 perfect, 0 no better" in text
    (mse,) = [line.split() for line in text.splitlines() if line.startswith("MSE")]
    assert mse == ["MSE", "0.000", "1.000"]  # showers that move by a pixel a frame
    assert "FSS of pysteps" in text
    assert main([*arguments[:-2], "--reference", "pyseps"]) == 2
    wrong = capsys.readouterr().err
    assert "--reference persistence" in wrong
    main([*arguments[:-4], *wrong.split("try ")[1].split()])
    assert "Skill against persistence" in capsys.readouterr().out
    assert main([*arguments, "fax"]) == 2
    assert "--scores mse" in capsys.readouterr().err
