"""One number, fitted: what is known of it beforehand, and the gate that divides by it."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.bundle.gating import confidence_of
from sacvit.profiles.tuning.temperature import (
    COLDEST,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from sacvit.runtime.chain.gate import Gate

IMAGES, CLASSES = 20_000, 10


def calibrated(images: int = IMAGES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: a temperature of 1 is the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (images, CLASSES))
    shares = np.exp(logits)
    shares /= shares.sum(-1, keepdims=True)
    labels = (rng.random((images, 1)) > shares.cumsum(-1)).sum(-1).clip(0, CLASSES - 1)
    return logits.astype(np.float32), labels.astype(np.int64)


def pieces(logits: np.ndarray, labels: np.ndarray, size: int = IMAGES):
    return lambda: ((logits[at : at + size], labels[at : at + size]) for at in range(0, len(labels), size))


@pytest.mark.parametrize("known", [0.25, 0.7, 1.0, 1.5, 6.0])
def test_the_temperature_that_logits_were_multiplied_by_is_found_within_5_percent(known):
    # Of 20 000 images the estimate scatters by about 0.8 %.
    logits, labels = calibrated()
    assert fit_temperature(pieces(logits * np.float32(known), labels)) == pytest.approx(known, rel=0.05)


def test_no_neighbour_of_the_fit_is_likelier():
    logits, labels = calibrated(2000)
    given = pieces(logits * np.float32(1.7), labels)
    fitted = fit_temperature(given)
    best = negative_log_likelihood(given, fitted)
    # Nearer than 1 % the likelihood differs by less than its fourth digit, and the fit is rounded there.
    assert all(best <= negative_log_likelihood(given, fitted * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2))


def test_the_fit_does_not_depend_on_the_pieces():
    logits, labels = calibrated(2000)
    # Sums in another order differ in the last bits, and the section's last step with them: 1e-4 of log T.
    assert fit_temperature(pieces(logits, labels, 7)) == pytest.approx(
        fit_temperature(pieces(logits, labels)), rel=2e-4
    )


def test_the_calibration_error_of_overconfident_logits_falls():
    logits, labels = calibrated()
    loud = logits * np.float32(3)
    right = loud.argmax(-1) == labels
    before, after = (
        calibration_error(confidence_of(loud, at), right) for at in (1.0, fit_temperature(pieces(loud, labels)))
    )
    # Of calibrated confidences it is what 15 bins of noise give: sqrt(15 * 0.2 / 20 000) is 0.012.
    assert before > 0.15 and after < 0.02


def test_no_images_have_the_temperature_1():
    assert fit_temperature(lambda: iter(())) == 1.0


def test_a_model_that_is_always_right_gets_a_cold_one_and_no_fault():
    """The coldest that is offered: below it every confidence would round to 1, and nothing could be sent on."""
    logits = np.eye(4, dtype=np.float32) * 3
    assert fit_temperature(pieces(logits, np.arange(4))) == pytest.approx(COLDEST, rel=1e-3)


def test_the_likelihood_is_that_of_the_formula():
    logits = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
    expected = -np.log([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]).mean()
    # 1e-12: both are sums of float64.
    assert negative_log_likelihood(pieces(logits, np.array([0, 0])), 2.0) == pytest.approx(expected, abs=1e-12)


def test_the_calibration_error_of_a_known_case_is_exact():
    confidence = np.array([0.9, 0.9, 0.5, 0.5], np.float32)
    # |0.9 - 0.5| for one half, |0.5 - 1| for the other; 1e-6: confidences are FP32.
    assert calibration_error(confidence, np.array([True, False, True, True])) == pytest.approx(0.45, abs=1e-6)


def test_certainty_falls_into_the_last_interval():
    # |1.95 - 1| / 2; an interval of its own would give (1 + 0.05) / 2.
    found = calibration_error(np.array([1, 0.95], np.float32), np.array([False, True]))
    assert found == pytest.approx(0.475, abs=1e-6)


def test_no_images_have_no_calibration_error():
    assert calibration_error(np.zeros(0, np.float32), np.zeros(0, bool)) == 0.0


@pytest.mark.parametrize("temperature", [0.05, 0.6, 1.7, 20.0])
def test_the_gate_computes_what_the_fit_did_within_1e_6(temperature):
    # The gate sums in FP32: 10 terms, of 6e-8 each.
    logits, _ = calibrated(500)
    found = np.zeros(500, np.float32)
    Gate(0.5, temperature).calibrate(logits, found)
    np.testing.assert_allclose(found, confidence_of(logits, temperature), atol=1e-6, rtol=0)


def test_logits_beyond_exp_of_float32_give_a_confidence():
    assert confidence_of(np.array([[1e30, 0, -1e30]], np.float32), 1.0).tolist() == [1.0]
