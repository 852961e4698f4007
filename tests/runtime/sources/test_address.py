from __future__ import annotations

import pytest

from sacvit.bundle.errors import UsageError
from sacvit.runtime.sources.address import parse_address, without_password


@pytest.mark.parametrize("password", ["p@ss#1", "a/b", "w?d#x", "p@h:1", "100%", "4%0X6", "12", "", "p:q"])
def test_a_password_may_hold_what_an_address_is_made_of(password):
    address = parse_address(f"rtsp://user:{password}@10.0.0.7:8555/secret")
    assert (address.user, address.password, address.host, address.port) == ("user", password, "10.0.0.7", 8555)
    assert address.rest == "/secret"


def test_a_program_gets_the_password_percent_encoded_once():
    for written in ("p@ss#1", "p%40ss%231"):
        assert parse_address(f"rtsp://user:{written}@cam/x").url == "rtsp://user:p%40ss%231@cam:554/x"


@pytest.mark.parametrize(
    ("text", "host", "port", "rest"),
    [
        ("RTSP://Cam/1", "Cam", 554, "/1"),
        ("rtsps://cam/1", "cam", 322, "/1"),
        ("https://cam", "cam", 443, ""),
        ("http://[::1]:8080/x", "[::1]", 8080, "/x"),
        ("rtsp://cam/x?channel=1&subtype=0", "cam", 554, "/x?channel=1&subtype=0"),
        ("http://cam:80/x?mail=a@b.c", "cam", 80, "/x?mail=a@b.c"),
        ("http://cam/x@2", "cam", 80, "/x@2"),
    ],
)
def test_an_address_without_a_user_is_taken_as_it_stands(text, host, port, rest):
    address = parse_address(text)
    assert (address.user, address.host, address.port, address.rest) == (None, host, port, rest)


@pytest.mark.parametrize("text", ["http://", "http://host:port/x", "http://host:99999/x", "rtsp://@/x"])
def test_what_has_no_host_is_refused(text):
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize("text", ["rtsp://user:12/3@cam/x", "rtsp://user:12#3@cam/x", "http://cam:80/x@v2/"])
def test_what_can_be_read_in_two_ways_is_refused_with_the_cure(text):
    with pytest.raises(UsageError, match="%40") as fault:
        parse_address(text)
    assert not any(part in str(fault.value) for part in ("12", "3@", "v2"))


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://u:p@ss@h/x",
        "rtsp://u:a/b@h/x",
        "http://h/x?token=secret",
        "http://u:p@ss@h/x?token=secret",
        "rtsp://u:12/secret@h",
        "--source=rtsp://u:secret@h/x",
        "--source=rtsp://u:secret/gst://@h/x",
        "gst://rtspsrc location=rtsp://u:secret@h/x user-pw=secret",
        "--camera=gst://rtspsrc user-pw='a ! secret' ! decodebin",
    ],
)
def test_no_part_of_a_secret_is_shown(text):
    assert not any(part in without_password(text) for part in ("p@ss", "ss@", "a/b", "secret"))


def test_what_is_no_address_is_shown_as_it_is():
    assert without_password("a@b/clip.mp4") == "a@b/clip.mp4"
    assert without_password("gst://videotestsrc") == "gst://videotestsrc"
    assert without_password("rtsp://me:secret@cam/1") == "rtsp://me:***@cam:554/1"
