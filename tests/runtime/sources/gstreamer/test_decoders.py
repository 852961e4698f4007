from __future__ import annotations

import pytest

from sacvit.runtime.sources.gstreamer.decoders import NVIDIA, codec_of_description, has_end, is_baseline

SOUND_FIRST = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\n"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (f"v=0\r\n{SOUND_FIRST}m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", "H264"),
        ("m=video 0 RTP/AVP 98\r\na=rtpmap:98 h265/90000\r\n", "H265"),
        ("m=video 0 RTP/AVP 26\r\n", "JPEG"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n", None),
        (SOUND_FIRST, None),
    ],
)
def test_the_codec_is_the_one_that_the_server_describes(body, name):
    codec = codec_of_description(body)
    assert (codec.rtp_name if codec else None) == name


def test_a_jetson_s_decoder_waits_for_no_reordering_where_the_profile_has_none():
    assert is_baseline("a=fmtp:96 packetization-mode=1;profile-level-id=42c01e")
    assert not is_baseline("a=fmtp:96 packetization-mode=1;profile-level-id=640028")
    assert "disable-dpb=true" in NVIDIA.text(is_reordered=False) and "disable-dpb" not in NVIDIA.text()


def test_a_recording_announces_its_length():
    assert (
        has_end("a=range:npt=0-12.5\r\n") and not has_end("a=range:npt=now-\r\n") and not has_end("a=range:npt=0-\r\n")
    )
