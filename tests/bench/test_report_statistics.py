"""Statistics of a benchmark, by hand."""

from __future__ import annotations

import pytest

from napari_medmeta.bench.statistics import Bin, Calibration, Interval, Reaching, paired, reliability, spearman


def test_the_interval_of_equal_values_has_no_width():
    assert Interval.of([0.5, 0.5, 0.5]) == Interval(0.5, 0.5, 0.5)


def test_the_interval_holds_the_mean_and_comes_out_the_same_twice():
    values = [0.1, 0.5, 0.7, 0.9]
    interval = Interval.of(values)
    assert interval.low < interval.mean < interval.high
    assert interval == Interval.of(values)


def test_the_interval_of_many_coins_is_about_two_standard_errors_wide():
    # 200 ones in 400: the mean's standard error is 0.5 / 20 = 0.025.
    interval = Interval.of([0.0, 1.0] * 200)
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)


def test_no_cases_have_no_interval():
    with pytest.raises(ValueError, match="no cases"):
        Interval.of([])


def test_paired_differences_are_ours_minus_theirs():
    result = paired([0.8, 0.6], [0.7, 0.9])
    assert result.gap.mean == pytest.approx(-0.1)
    assert result.won == 0.5


def test_an_even_case_is_not_won():
    assert paired([0.5, 0.6], [0.5, 0.5]).won == 0.5


def test_rank_correlation_is_one_for_the_same_order_whatever_the_distances():
    assert spearman([(0.1, 0.0), (0.2, 0.9), (0.9, 1.0)]) == pytest.approx(1.0)
    assert spearman([(0.1, 1.0), (0.2, 0.9), (0.9, 0.0)]) == pytest.approx(-1.0)


def test_rank_correlation_by_hand():
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = 0.6.
    assert spearman([(1, 20), (2, 10), (3, 40), (4, 30)]) == pytest.approx(0.6)


def test_without_variation_there_is_no_rank_correlation():
    assert spearman([(0.5, 0.1), (0.5, 0.9)]) is None
    assert spearman([(0.5, 0.1)]) is None


def test_calibration_by_hand():
    found = Calibration.of([(0.9, 0.8), (0.5, 0.7)])
    assert found is not None
    assert found.count == 2
    assert found.error == pytest.approx(0.15)
    assert found.bias == pytest.approx(-0.05)
    assert found.rank == pytest.approx(1.0)


def test_one_pair_is_not_calibrated():
    assert Calibration.of([(0.9, 0.8)]) is None


def test_reliability_puts_neighbours_together_and_drops_empty_bins():
    bins = reliability([(0.81, 0.7), (0.89, 0.9), (0.15, 0.2)])
    assert bins == (Bin(1, 0.15, 0.2), Bin(2, pytest.approx(0.85), pytest.approx(0.8)))


def test_an_expectation_of_one_lies_in_the_last_bin():
    assert reliability([(1.0, 0.9)], bins=2) == (Bin(1, 1.0, 0.9),)


def test_who_never_arrives_counts_as_infinitely_late():
    assert Reaching.of([3, 5, None]) == Reaching(pytest.approx(2 / 3), 5.0)


def test_when_half_never_arrive_there_is_no_median():
    assert Reaching.of([3, None]) == Reaching(0.5, None)
    assert Reaching.of([None, None]) == Reaching(0.0, None)
