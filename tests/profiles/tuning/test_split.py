"""Which images are fitted on and which reported on: no image in both, no half without images, told beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacvit.bundle.errors import UsageError
from sacvit.images.labelled import Labelled
from sacvit.profiles.tuning.split import fit_half, gap_lines, split


def named(*names, labels=None, home="/data", source="data") -> Labelled:
    given = np.zeros(len(names), np.int64) if labels is None else np.array(labels)
    return Labelled(source, Path(home), names, given, "", lambda index: None)


def of_half(is_fitted, count) -> list[str]:
    """Names that fall into one half."""
    names = [f"{index}.png" for index in range(100)]
    return [name for name, found in zip(names, fit_half(named(*names)), strict=True) if found == is_fitted][:count]


def test_an_image_stays_in_its_half_when_others_come():
    few = [f"cat/{index}.jpg" for index in range(0, 300, 3)]
    many = [f"cat/{index}.jpg" for index in range(300)]
    assert np.array_equal(fit_half(named(*many))[::3], fit_half(named(*few)))


def test_halves_are_halves():
    # 8 000 coins: 45 of standard deviation, 3 % of a half is 2.7 of them.
    share = fit_half(named(*(f"{index}.jpg" for index in range(8000)))).mean()
    assert share == pytest.approx(0.5, abs=0.017)


def test_one_set_is_parted_without_a_rest():
    fitted, reported = split([named(*of_half(True, 3), *of_half(False, 4))])
    assert (fitted.sum(), reported.sum()) == (3, 4) and not (fitted & reported).any()


@pytest.mark.parametrize(("is_fitted", "empty"), [(True, "reported on"), (False, "fitted on")])
def test_a_half_without_images_is_told(is_fitted, empty):
    with pytest.raises(UsageError, match=f"none of 5 falls into the split that is {empty}. Give more images"):
        split([named(*of_half(is_fitted, 5))])


def test_two_sets_are_taken_whole():
    fitted, reported = split([named("a.png", "b.png"), named("c.png", home="/elsewhere")])
    assert fitted.tolist() == [True, True] and reported.tolist() == [True]


def test_an_image_of_both_sets_is_told():
    both = [named("b.png", "sub/a.png"), named("a.png", "c.png", home="/data/sub", source="other")]
    with pytest.raises(
        UsageError, match=r"--report-data other: 1 of its images are in --data too, /data/sub/a\.png first"
    ):
        split(both)


def test_the_same_name_elsewhere_is_another_image():
    split([named("a.png"), named("a.png", home="/elsewhere")])


# Classes that are missing


def gaps(data, classes=3, names=None):
    return list(gap_lines([data], *split([data]), classes, names))


def test_a_class_that_one_half_lacks_is_told_with_the_half():
    data = named(*of_half(True, 3), *of_half(False, 2), labels=[0, 1, 2, 0, 1])
    (line,) = gaps(data, names=["ant", "bee", "cat"])
    assert "of the 2 images that are reported on none is of 1 of the model's 3 classes: cat." in line


def test_of_many_missing_classes_the_first_three_are_named():
    data = named(*of_half(True, 1), *of_half(False, 1), labels=[0, 0])
    assert gaps(data, 1000)[0].endswith("999 of the model's 1000 classes: 1, 2, 3 .... Nothing is known of these")


def test_halves_with_every_class_are_no_news():
    assert gaps(named(*of_half(True, 2), *of_half(False, 2), labels=[0, 1, 1, 0]), 2) == []


def test_classes_are_looked_for_in_each_of_two_sets():
    sets = [named("a", "b", labels=[0, 1]), named("c", "d", labels=[1, 1], home="/elsewhere", source="other")]
    (line,) = gap_lines(sets, *split(sets), 2, None)
    assert line.startswith("other: of the 2 images that are reported on none is of 1")
