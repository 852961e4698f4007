from __future__ import annotations

from dataclasses import replace

import pytest

from sacvit.runtime.sources.gstreamer import decoders
from sacvit.runtime.sources.gstreamer.decoders import CODECS, Decoder, choose_decoder, passes_trial, software

H264, H265, JPEG = CODECS


@pytest.mark.parametrize(
    ("codec", "decoder"),
    [(codec, decoder) for codec in CODECS for decoder in codec.decoders if not decoder.is_hardware],
    ids=lambda one: getattr(one, "name", ""),
)
def test_a_decoder_that_works_passes_the_trial(codec, decoder):
    assert passes_trial(codec, decoder)


@pytest.mark.parametrize(
    "element",
    [
        "avdec_h265",
        "avdec_h264 ! videobalance hue=0.5",
        "avdec_h264 nosuchproperty=1",
    ],
)
def test_a_decoder_without_the_right_picture_fails_the_trial(element):
    assert not passes_trial(H264, Decoder(element))


def test_a_decoder_that_hangs_fails_the_trial(monkeypatch):
    monkeypatch.setattr(decoders, "TRIAL_S", 1.0)
    assert not passes_trial(H264, Decoder("avdec_h264 ! identity sleep-time=60000000"))


def test_hardware_that_works_comes_before_software_and_broken_hardware():
    working = Decoder("openh264dec")
    broken, missing = Decoder("avdec_h265"), Decoder("nosuchdecoder")
    chosen = replace(H264, decoders=(missing, broken, working, software("avdec_h264")))
    assert choose_decoder(chosen) == working


def test_without_hardware_the_first_software_that_exists_is_taken():
    assert choose_decoder(replace(H264, decoders=(software("nosuchdecoder"), software("openh264dec")))) == software(
        "openh264dec"
    )
    assert choose_decoder(replace(H264, decoders=(software("nosuchdecoder"),))) is None
