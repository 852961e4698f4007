"""Parses addresses of network streams as users write them: passwords with any character, schemes in any case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ...bundle.errors import UsageError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s@/?#:\[\]]+)(?::\d{1,5})?"  # a name or an address, and a port
END = r"(?=[/?#]|$)"


@dataclass(frozen=True)
class Address:
    """A stream's address in parts; user and password as they are, not percent-encoded. rest: path, query and fragment."""

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int
    rest: str

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url_without_user(self) -> str:
        return f"{self.scheme}://{self.place}{self.rest}"

    @property
    def url(self) -> str:
        """The address for a program: with the password, percent-encoded."""
        if self.user is None:
            return self.url_without_user
        password = "" if self.password is None else ":" + quote(self.password, safe="")
        return f"{self.scheme}://{quote(self.user, safe='')}{password}@{self.place}{self.rest}"

    @property
    def shown(self) -> str:
        """The address for a person: without the password, and without the query, which may hold a token."""
        user = "" if self.user is None else quote(self.user, safe="") + ("@" if self.password is None else ":***@")
        return f"{self.scheme}://{user}{self.place}{re.sub(r'[?#].*', '?***', self.rest)}"


def scheme_of(text: str) -> str | None:
    """The scheme in small letters, or None where the text has none."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return match[1].lower() if match else None


def parse_address(text: str) -> Address:
    """The parts of an address. Raises UsageError, whose message quotes nothing that could be part of a password.

    A password may hold @, #, / and ?: if the text before the first / ? or # is not just a host, the address starts with a user,
    and its password ends at the last @ that a host follows. Write an @ in the path as %40. Ambiguous addresses are refused:
    user:12/3@host is a password, or a port and a path.
    """
    scheme = scheme_of(text)
    if scheme not in PORTS:
        raise UsageError(f"an address begins with {', '.join(f'{known}://' for known in PORTS)}")
    after = text.split("://", 1)[1]
    user: str | None = None
    password: str | None = None
    if re.match(rf"[^@/?#]+:\d+(?:/[^?]*|[?#].*)@{HOST}{END}", after):
        raise UsageError(
            f"this {scheme} address can be read in two ways. Write / ? # and @ in a password as %2F %3F %23 and %40, and @ in"
            " a path as %40"
        )
    if not re.match(HOST + END, after):
        match = re.match(rf"(?P<user>[^:@/?#]*)(?::(?P<password>.*))?@(?={HOST}{END})", after, re.DOTALL)
        if match is None:
            raise UsageError(
                f"this {scheme} address has no host where one belongs. Write {scheme}://host:port/path or"
                f" {scheme}://user:password@host:port/path"
            )
        user, password = unquote(match["user"]), None if match["password"] is None else unquote(match["password"])
        after = after[match.end() :]
    match = re.match(HOST, after)
    assert match is not None
    host, _, port = match[0].rpartition(":") if re.search(r":\d+$", match[0]) else (match[0], "", "")
    if port and not 0 < int(port) < 65536:
        raise UsageError(f"the port {port} of this {scheme} address is not between 1 and 65535")
    return Address(scheme, user, password, host, int(port or PORTS[scheme]), after[match.end() :])


def without_password(text: str) -> str:
    """A source for logs: an address, also behind `--source=`, loses its password and query, a pipeline all but its first
    element; other texts are unchanged."""
    pipeline = re.match(r"(?i)(?:--[\w-]+=)?gst://\s*[\w.-]*", text)
    if pipeline is not None:
        return f"{pipeline[0]} ..." if text[pipeline.end() :].strip() else text
    match = re.search(rf"(?i)\b({'|'.join(PORTS)})://", text)
    if match is None:
        return text
    try:
        return text[: match.start()] + parse_address(text[match.start() :]).shown
    except UsageError:
        return f"{text[: match.end()]}***"
