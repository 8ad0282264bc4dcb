"""Few-shot diagnosis: who is recognised, who is like none, and what is said to speak for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medmeta.core import InputError, MissingExamplesError, Modality
from napari_medmeta.core.diagnosis import Feature, KnownCase, MeasuredCase, Quantity
from napari_medmeta.core.heart_phantoms import HEART_FINDINGS, HEART_NAMES, beating_heart
from napari_medmeta.tasks.diagnosis import Diagnoser, diagnose, percent
from napari_medmeta.tasks.diagnosis_features import measure_case

SPLEEN = Feature(Quantity.VOLUME, "spleen")
LIVER = Feature(Quantity.VOLUME, "liver")


def measured(*, spleen: float = 200.0, liver: float | None = 1500.0, modality: Modality = Modality.CT) -> MeasuredCase:
    values = {SPLEEN: float(np.log(spleen))}
    if liver is not None:
        values[LIVER] = float(np.log(liver))
    return MeasuredCase(modality, values)


def known(finding: str, number: int, case: MeasuredCase) -> KnownCase:
    return KnownCase(f"{finding}{number}", finding, "2026-01-01", case)


LARGE = [known("large spleen", n, measured(spleen=ml)) for n, ml in enumerate((550, 650, 700))]
NORMAL = [known("normal", n, measured(spleen=ml)) for n, ml in enumerate((180, 200, 230))]


@pytest.fixture(scope="module")
def hearts() -> dict[tuple[str, int], MeasuredCase]:
    """Four synthetic patients of each finding."""
    found = {}
    for finding in HEART_FINDINGS:
        for seed in range(4):
            scans = {phase: (p.volume, p.labels) for phase, p in beating_heart(finding, seed=seed).items()}
            found[finding, seed] = measure_case(scans, HEART_NAMES)
    return found


def test_a_case_is_most_like_the_finding_whose_size_it_has() -> None:
    answer = diagnose(measured(spleen=600), [*LARGE, *NORMAL])
    assert [x.finding for x in answer.likely] == ["large spleen", "normal"]
    assert answer.likely[0].probability > 0.9
    assert sum(x.probability for x in answer.likely) == pytest.approx(1)
    assert not answer.none_of_these
    assert answer.headline.startswith("Most like large spleen")


def test_one_case_of_each_finding_is_enough_to_answer() -> None:
    answer = diagnose(measured(spleen=210), [LARGE[0], NORMAL[0]])
    assert answer.likely[0].finding == "normal"


def test_a_case_between_two_findings_is_undecided() -> None:
    between = float(np.exp((np.log(180) + np.log(550)) / 2))
    answer = diagnose(measured(spleen=between), [LARGE[0], NORMAL[0]])
    assert answer.likely[0].probability == pytest.approx(0.5, abs=0.01)


def test_a_case_far_from_all_is_none_of_these() -> None:
    answer = diagnose(measured(spleen=4000, liver=300), [*LARGE, *NORMAL])
    assert answer.none_of_these
    assert answer.headline.startswith("None of these")
    assert answer.distance > answer.limit


def test_the_measurement_that_decides_is_named_in_plain_words() -> None:
    answer = diagnose(measured(spleen=600, liver=1400), [*LARGE, *NORMAL])
    first = answer.speaks_for[0]
    assert first.feature == SPLEEN
    assert first.words == "spleen, volume: 600 ml (this finding 550 ml to 700 ml; others 180 ml to 230 ml)"
    assert LIVER not in {c.feature for c in answer.speaks_for}


def test_a_measurement_that_speaks_against_the_answer_is_named_too() -> None:
    cases = [
        *(known("both large", n, measured(spleen=600, liver=2600 + 10 * n)) for n in range(3)),
        *(known("normal", n, measured(spleen=200 + n, liver=1500 + 10 * n)) for n in range(3)),
    ]
    answer = diagnose(measured(spleen=640, liver=1850), cases)
    assert answer.likely[0].finding == "both large"
    assert [c.feature for c in answer.speaks_against] == [LIVER]


def test_the_nearest_kept_cases_come_first() -> None:
    answer = diagnose(measured(spleen=199), [*LARGE, *NORMAL])
    assert answer.nearest[0].case == "normal1"
    assert answer.nearest[0].distance < answer.nearest[1].distance < answer.nearest[2].distance


def test_findings_are_the_same_but_for_case() -> None:
    cases = [*LARGE, NORMAL[0], replace(NORMAL[1], finding="Normal")]
    assert Diagnoser(cases).findings == ("large spleen", "normal")


def test_one_finding_alone_cannot_be_compared() -> None:
    with pytest.raises(MissingExamplesError, match="All cases kept show one finding, normal"):
        Diagnoser(NORMAL)
    with pytest.raises(MissingExamplesError, match=r"No case is kept yet\."):
        Diagnoser(())


def test_cases_without_a_common_measurement_are_refused_with_what_is_needed() -> None:
    kidney = MeasuredCase(Modality.CT, {Feature(Quantity.VOLUME, "kidney"): 5.0})
    with pytest.raises(InputError, match="Expected: liver, spleen"):
        diagnose(kidney, [*LARGE, *NORMAL])


def test_only_scans_of_one_kind_are_compared() -> None:
    on_mr = [replace(c, id=f"mr{c.id}", measured=MeasuredCase(Modality.MR, c.measured.values)) for c in LARGE]
    answer = diagnose(measured(spleen=600), [*LARGE, *NORMAL, *on_mr])
    assert {x.finding: x.cases for x in answer.likely} == {"large spleen": 3, "normal": 3}
    with pytest.raises(MissingExamplesError, match="of this kind of scan show one finding, large spleen"):
        diagnose(measured(spleen=600, modality=Modality.MR), [*LARGE, *NORMAL, *on_mr])
    with pytest.raises(MissingExamplesError, match=r"No case of this kind of scan is kept yet \(6 of other kinds"):
        diagnose(measured(spleen=600, modality=Modality.MR), [*LARGE, *NORMAL])


def test_a_measurement_that_some_cases_lack_is_used_where_every_finding_has_it() -> None:
    without = [known("large spleen", 9, measured(spleen=600, liver=None)), *LARGE, *NORMAL]
    assert diagnose(measured(spleen=600), without).measurements == 2
    nowhere = [known("normal", n, measured(spleen=200, liver=None)) for n in range(2)]
    assert diagnose(measured(spleen=600), [*LARGE, *nowhere]).measurements == 1


def test_the_order_of_the_cases_changes_nothing() -> None:
    one, other = (diagnose(measured(spleen=400), cases) for cases in ([*LARGE, *NORMAL], [*NORMAL, *reversed(LARGE)]))
    assert {x.finding: x.probability for x in one.likely} == pytest.approx(
        {x.finding: x.probability for x in other.likely}
    )


def test_the_check_recognises_distinct_cases_and_asks_no_single_ones() -> None:
    check = Diagnoser([*LARGE, *NORMAL, known("odd", 0, measured(spleen=60))]).check()
    assert (check.right, check.asked) == (6, 6)
    assert "6 of 6" in check.words
    assert "Nothing can be checked" in Diagnoser([LARGE[0], NORMAL[0]]).check().words


def test_the_check_of_mixed_up_findings_is_poor() -> None:
    mixed = [known("a" if n % 2 else "b", n, measured(spleen=200 + 3 * n)) for n in range(8)]
    check = Diagnoser(mixed).check()
    assert check.right < check.asked


@given(st.lists(st.floats(100, 1000), min_size=4, max_size=8), st.floats(50, 2000))
@settings(max_examples=25, deadline=None)
def test_probabilities_are_probabilities(sizes: list[float], asked: float) -> None:
    cases = [known("a" if n % 2 else "b", n, measured(spleen=ml)) for n, ml in enumerate(sizes)]
    answer = diagnose(measured(spleen=asked), cases)
    assert sum(x.probability for x in answer.likely) == pytest.approx(1)
    assert all(0 <= x.probability <= 1 for x in answer.likely)
    assert answer.distance >= 0
    assert answer.limit > 0


def test_nothing_is_ever_shown_as_certain() -> None:
    assert (percent(0.9999), percent(0.42), percent(1e-9)) == (">99 %", "42 %", "<1 %")


def test_synthetic_hearts_are_recognised_from_the_others(hearts: dict[tuple[str, int], MeasuredCase]) -> None:
    check = Diagnoser(known(f, seed, case) for (f, seed), case in hearts.items()).check()
    # Five findings: four by chance. Dilated hearts and old infarctions overlap on purpose.
    assert check.asked == 20
    assert check.right >= 13


def test_a_beating_hearts_answer_is_about_the_heart(hearts: dict[tuple[str, int], MeasuredCase]) -> None:
    cases = [known(f, seed, case) for (f, seed), case in hearts.items() if seed < 3]
    answer = diagnose(hearts["abnormal right ventricle", 3], cases)
    assert answer.likely[0].finding == "abnormal right ventricle"
    assert "right ventricle, " in answer.speaks_for[0].words


def test_labels_drawn_at_random_are_not_recognised_better_than_chance(
    hearts: dict[tuple[str, int], MeasuredCase],
) -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(12):
        names = rng.permutation([f for f, _ in hearts])
        check = Diagnoser(
            known(str(f), n, c) for n, (f, c) in enumerate(zip(names, hearts.values(), strict=True))
        ).check()
        rates.append(check.right / check.asked)
    assert np.mean(rates) < 0.35
