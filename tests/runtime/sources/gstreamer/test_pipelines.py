from __future__ import annotations

from pathlib import Path

from sacvit.runtime.sources.address import parse_address
from sacvit.runtime.sources.gstreamer.decoders import CODECS
from sacvit.runtime.sources.gstreamer.pipelines import ONE_LEAKY, file_pipeline, rtsp_pipeline

H264, _, JPEG = CODECS
CAMERA = parse_address("rtsp://cam/x")


def test_nothing_of_an_address_leaves_its_quotes():
    address = parse_address('rtsp://u:p"w@cam/x" ! filesink location="/tmp/y')
    pipeline = rtsp_pipeline(address, None, None)
    assert pipeline.count('"') == 2 and pipeline.count(" ! ") == 4
    assert 'location="rtsp://u:p%22w@cam:554/x%22%20%21%20filesink%20location=%22/tmp/y"' in pipeline


def test_only_complete_pictures_are_dropped_before_they_are_decoded():
    for codec, queues in ((H264, 1), (JPEG, 2)):
        assert rtsp_pipeline(CAMERA, codec, codec.decoders[-1]).count(ONE_LEAKY) == queues


def test_a_jetson_s_pictures_are_brought_to_system_memory():
    assert "nvv4l2decoder enable-max-performance=1 ! nvvidconv" in rtsp_pipeline(CAMERA, H264, H264.decoders[0])


def test_nothing_of_a_file_s_name_leaves_its_quotes():
    assert file_pipeline(Path('a" ! b\\.mp4'), H264.decoders[-1]).startswith(
        'filesrc location="a\\" ! b\\\\.mp4" ! parsebin'
    )
