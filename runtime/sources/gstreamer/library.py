"""GStreamer's C library, called directly: which elements exist, and pipelines from text with GStreamer's own errors.

OpenCV's way to GStreamer gives no reason when a pipeline fails, and before 4.7 it waits for the first picture without a limit.
PyGObject would do, but is not in a virtual environment. GStreamer keeps this interface stable over all of 1.x.
"""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

EOS, ERROR = 1 << 0, 1 << 1  # GstMessageType
NO_ELEMENT, ELSEWHERE = 1, -1  # GstParseError's code of a missing element; ours of an error in a running pipeline


class PipelineError(Exception):
    """GStreamer's message about a pipeline, without addresses and values. code: GstParseError, or ELSEWHERE."""

    def __init__(self, message: str, code: int = ELSEWHERE) -> None:
        super().__init__(message)
        self.code = code


class _GError(ctypes.Structure):
    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


_Error = POINTER(_GError)
_LIBRARIES = ("libglib-2.0.so.0", "libgstreamer-1.0.so.0", "libgstapp-1.0.so.0")
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what they return, then what they take
    "g_error_free": (None, _Error),
    "gst_init_check": (c_int, c_void_p, c_void_p, POINTER(_Error)),
    "gst_element_factory_find": (c_void_p, c_char_p),
    "gst_object_unref": (None, c_void_p),
    "gst_mini_object_unref": (None, c_void_p),
    "gst_parse_launch": (c_void_p, c_char_p, POINTER(_Error)),
    "gst_bin_get_by_name": (c_void_p, c_void_p, c_char_p),
    "gst_element_get_bus": (c_void_p, c_void_p),
    "gst_element_set_state": (c_int, c_void_p, c_int),
    "gst_element_query_duration": (c_int, c_void_p, c_int, POINTER(c_int64)),
    "gst_bus_timed_pop_filtered": (c_void_p, c_void_p, c_uint64, c_int),
    "gst_message_parse_error": (None, c_void_p, POINTER(_Error), c_void_p),
    "gst_app_sink_try_pull_sample": (c_void_p, c_void_p, c_uint64),
    "gst_app_sink_is_eos": (c_int, c_void_p),
    "gst_sample_get_buffer": (c_void_p, c_void_p),
    "gst_sample_get_caps": (c_void_p, c_void_p),
    "gst_caps_get_structure": (c_void_p, c_void_p, c_uint32),
    "gst_structure_get_string": (c_char_p, c_void_p, c_char_p),
    "gst_structure_get_int": (c_int, c_void_p, c_char_p, POINTER(c_int)),
    "gst_structure_get_fraction": (c_int, c_void_p, c_char_p, POINTER(c_int), POINTER(c_int)),
    "gst_buffer_get_size": (c_size_t, c_void_p),
    "gst_buffer_extract": (c_size_t, c_void_p, c_size_t, c_void_p, c_size_t),
}


class _Library:
    """Each of _FUNCTIONS as a method."""

    def __init__(self) -> None:
        loaded = [ctypes.CDLL(name) for name in _LIBRARIES]
        for name, (returned, *taken) in _FUNCTIONS.items():
            function = next(getattr(one, name) for one in loaded if hasattr(one, name))
            function.restype, function.argtypes = returned, taken
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@cache
def gstreamer() -> _Library | None:
    """The library, ready for use; None where it is not installed, or where pointers are not what capture.py counts on."""
    if ctypes.sizeof(c_void_p) != 8:
        return None
    try:
        library = _Library()
    except OSError:
        return None
    return library if library.gst_init_check(None, None, None) else None


def has_element(name: str) -> bool:
    """Whether GStreamer has an element of this name. It may still fail where its hardware is missing."""
    library = gstreamer()
    factory = library and library.gst_element_factory_find(name.encode())
    if library and factory:
        library.gst_object_unref(factory)
    return bool(factory)


def pipeline_from_text(library: _Library, text: str) -> int:
    """A pipeline that is not started, owned by the caller. Raises PipelineError: a missing element, a wrong property."""
    error = _Error()
    pipeline = library.gst_parse_launch(text.encode(), byref(error))
    if error:  # with some errors there is a pipeline too, which lacks a part
        if pipeline:
            library.gst_object_unref(pipeline)
        raise _error_of(library, error, error.contents.code)
    assert isinstance(pipeline, int)
    return pipeline


def check_syntax(text: str) -> None:
    """Raises PipelineError if GStreamer cannot make the pipeline. Nothing is started."""
    library = gstreamer()
    if library is not None:
        library.gst_object_unref(pipeline_from_text(library, text))


def error_on(library: _Library, bus: int) -> PipelineError | None:
    """The next error on a pipeline's bus, which is emptied up to it."""
    message = library.gst_bus_timed_pop_filtered(bus, 0, ERROR)
    if not message:
        return None
    error = _Error()
    library.gst_message_parse_error(message, byref(error), None)
    library.gst_mini_object_unref(message)
    return _error_of(library, error, ELSEWHERE)


def _error_of(library: _Library, error: Any, code: int) -> PipelineError:
    """The exception for a GError, which is freed. Values of properties and addresses may hold passwords: they are masked."""
    text = error.contents.message.decode("utf-8", "replace")
    library.g_error_free(error)
    text = re.sub(r'(could not set property .*) to ".*"', r"\1", text, flags=re.DOTALL)
    return PipelineError(re.sub(r"\b(\w+)://[^\s\"']+", r"\1://***", text).strip().rstrip("."), code)
