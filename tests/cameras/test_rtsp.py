"""RTSP through GStreamer, from a real server. Pictures hold their number."""

from __future__ import annotations

import itertools
import logging
import threading
from dataclasses import replace

import pytest
from rtsp_server import RtspServer
from stamped_camera import SIZES, read_number

from sacvit.bundle.errors import DeviceError
from sacvit.runtime.sources.frame import OpenOptions
from sacvit.runtime.sources.gstreamer import rtsp
from sacvit.runtime.sources.gstreamer.decoders import CODECS, Decoder, software
from sacvit.runtime.sources.opening import diagnose, open_source


@pytest.fixture(autouse=True)
def shown(caplog):
    caplog.set_level(logging.INFO)


def numbers_of(frames) -> list[int]:
    return [read_number(frame.image) for frame in frames]


@pytest.mark.parametrize(
    ("kind", "rate", "decoder"),
    [
        ("rtsp-h264", 30, "avdec_h264"),
        ("rtsp-h265", 30, "avdec_h265"),
        ("rtsp-mjpeg", 30, "avdec_mjpeg"),
        ("rtsp-h264", 60, "avdec_h264"),
        ("rtsp-h264", 1, "avdec_h264"),
    ],
)
def test_a_stream_gives_its_pictures_in_order_through_gstreamer(start_camera, take, caplog, kind, rate, decoder):
    camera = start_camera(kind, rate)
    source, frames = take(camera.url, 4 if rate == 1 else 20)
    numbers = numbers_of(frames)
    assert numbers == sorted(set(numbers)) and source.losses == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{source.name}: decoded by GStreamer ({decoder}, software)"
    ]


def test_a_slow_consumer_gets_the_newest_picture(start_camera):
    source = open_source(start_camera("rtsp-h264", 60).url)
    frames = iter(source)
    first = read_number(next(frames).image)
    while source.dropped < 30:
        threading.Event().wait(0.01)
    assert read_number(next(frames).image) >= first + 30
    source.close()


def test_a_server_that_dies_and_returns_is_opened_again(start_camera):
    camera = start_camera("rtsp-h264", 30)
    source = open_source(camera.url)
    frames = iter(source)
    numbers = numbers_of(itertools.islice(frames, 15))
    camera.kill()
    camera.start()
    after = next(number for number in map(read_number, (frame.image for frame in frames)) if number < numbers[-1])
    assert after < 15
    source.close()


def test_a_server_that_freezes_is_left_behind_and_found_again(start_camera):
    camera = start_camera("rtsp-h264", 30)
    source = open_source(camera.url, OpenOptions(stall_timeout_s=0.5))
    source.report_losses(lambda stream, message: camera.thaw())
    frames = iter(source)
    next(frames)
    camera.freeze()
    while source.losses == 0:
        next(frames)
    assert len(numbers_of(itertools.islice(frames, 5))) == 5
    source.close()


def test_a_password_reaches_the_camera(start_camera, take, caplog):
    camera = start_camera("rtsp-h264", 30, "--password", 'p@ss/"1')
    _, frames = take(camera.url.replace("//", '//user:p@ss%2F"1@'), 2)
    assert len(frames) == 2 and "decoded by GStreamer" in caplog.text and "p@ss" not in caplog.text


def test_a_wrong_password_is_named_and_not_shown(start_camera, take, caplog, capfd):
    camera = start_camera("rtsp-h264", 30, "--password", "right")
    with pytest.raises(DeviceError, match="refuses this user or password") as fault:
        take(camera.url.replace("//", "//user:wr0ng@"), 1)
    assert "wr0ng" not in str(fault.value) + caplog.text + "".join(capfd.readouterr())


def test_a_camera_may_change_its_size(start_camera):
    source = open_source(start_camera("rtsp-h264", 30, "--resized").url)
    sizes, last = set(), -1
    for frame in source:
        sizes.add(frame.image.shape[1::-1])
        number = read_number(frame.image)
        assert number > last
        last = number
        if sizes == set(SIZES):
            break
    source.close()
    assert source.losses == 0


@pytest.mark.parametrize(
    "clock",
    [lambda passed_s: 1.5 * passed_s, lambda passed_s: passed_s + 3600 * (passed_s > 1), lambda passed_s: 7.0],
    ids=["too fast", "jumps an hour", "stands still"],
)
def test_a_wrong_clock_of_the_camera_does_not_delay_its_pictures(take, caplog, clock):
    camera = RtspServer(0.02, clock=clock)
    source, frames = take(camera.url, 120)
    camera.die()
    shades = [int(frame.image[24, 32, 0]) for frame in frames]
    steps = [(after - before) % 240 for before, after in itertools.pairwise(shades)]
    assert source.losses == 0 and source.dropped < 30 and "decoded by GStreamer" in caplog.text
    assert sum(steps) <= 4 * (len(frames) + source.dropped) + 60


def test_a_decoder_that_is_too_slow_is_started_anew_and_damages_no_picture(start_camera, monkeypatch, caplog):
    slow = software("avdec_h264 ! identity sleep-time=120000")
    monkeypatch.setattr(rtsp, "choose_decoder", lambda codec: slow)
    camera = start_camera("rtsp-h264", 60)
    source, numbers = open_source(camera.url), []
    for frame in itertools.islice(source, 60):
        numbers.append(read_number(frame.image))
        if len(numbers) > 1 and numbers[-1] < numbers[-2]:
            break
    source.close()
    assert numbers[:-1] == sorted(set(numbers[:-1])) and numbers[-2] < 60
    assert "decoding is slower than the stream" in caplog.text


def test_a_pipeline_that_does_not_start_is_followed_by_ffmpeg(start_camera, take, monkeypatch, caplog):
    monkeypatch.setattr(rtsp, "choose_decoder", lambda codec: Decoder("no-such-decoder"))
    _, frames = take(start_camera("rtsp-h264", 30).url, 3)
    assert len(frames) == 3
    assert 'decoded by FFmpeg (software); GStreamer gives no picture: no element "no-such-decoder"' in caplog.text


def test_a_pipeline_that_hangs_is_followed_by_ffmpeg(start_camera, monkeypatch, caplog):
    monkeypatch.setattr(rtsp, "choose_decoder", lambda codec: software("avdec_h264 ! valve drop=true"))
    camera = start_camera("rtsp-h264", 30)
    source = open_source(camera.url, OpenOptions(open_timeout_s=6))
    next(iter(source))
    assert "decoded by FFmpeg (software); GStreamer gives no picture: no picture within 2 s" in caplog.text
    source.close()


def test_a_codec_that_the_table_lacks_is_left_to_gstreamer(start_camera, take, monkeypatch, caplog):
    monkeypatch.setattr(rtsp, "codec_of_description", lambda body: None)
    _, frames = take(start_camera("rtsp-h264", 30).url, 3)
    assert len(frames) == 3 and "decoded by GStreamer (decodebin)" in caplog.text


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.rtp_name)
def test_every_software_decoder_of_the_table_decodes_a_stream(start_camera, take, monkeypatch, codec):
    kind = {"JPEG": "mjpeg"}.get(codec.rtp_name, codec.rtp_name.lower())
    camera = start_camera(f"rtsp-{kind}", 30)
    for decoder in (one for one in codec.decoders if not one.is_hardware):
        monkeypatch.setattr(rtsp, "choose_decoder", lambda codec, chosen=decoder: replace(chosen))
        _, frames = take(camera.url, 3)
        assert numbers_of(frames) == sorted(set(numbers_of(frames))), decoder.name


def test_a_check_says_what_decodes_the_stream(start_camera):
    findings = list(diagnose(start_camera("rtsp-h264", 30).url))
    assert findings[-1] == ("the stream gives a picture, decoded by GStreamer (avdec_h264, software)", None)
