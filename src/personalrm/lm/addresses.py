"""Where a request goes and what it carries there: base URL and route, proxy, redirects, key and headers.

Base URLs, keys and headers are copied from web pages, terminals and settings of other programs, with what sticks to
them. What is harmless is taken off; what cannot be sent is refused in one sentence, before anything is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies

from personalrm.errors import BadInput, UnknownName

ROUTES = ("/chat/completions", "/completions", "/embeddings")
"""Often copied along with a base URL."""
AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
AZURE_PATH = "/openai/deployments/"
TRANSPARENT = "\ufeff\u200b\u200c\u200d\u2060"
"""Characters without a width that web pages and editors leave at the ends of a key."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IN_NO_HEADER = re.compile(r"[^\x20-\x7e]")


def checked_base_url(base_url: str) -> str:
    """The base URL as it can be used.

    Raises:
        UnknownName: If it cannot; the sentence leaves a login out.
    """
    url = base_url.strip().strip("\"'").strip()
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:  # brackets of an IPv6 address, a port beyond 65535
        is_usable = False
    if not is_usable or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise UnknownName(
            f"base URL {base_url.rpartition('@')[2]!r} cannot be used; write it like http://localhost:8000/v1, keys "
            "go into PERSONALRM_API_KEY or a key file"
        )
    return url


def route_url(base_url: str, route: str) -> str:
    """The URL of a route; a query, which Azure needs, stays behind it.

    >>> route_url("http://h/openai/deployments/d?api-version=1", "/chat/completions")
    'http://h/openai/deployments/d/chat/completions?api-version=1'
    """
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    for copied in ROUTES:
        path = path.removesuffix(copied).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path + route, parts.query, ""))


def root_of(base_url: str) -> str:
    """The base URL without `/v1`, beside which servers have routes of their own."""
    parts = urlsplit(base_url)
    return urlunsplit(
        (parts.scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1").rstrip("/"), parts.query, "")
    )


def is_azure(base_url: str) -> bool:
    """Whether Azure serves it, or a gateway that speaks like Azure."""
    parts = urlsplit(base_url)
    return (parts.hostname or "").endswith(AZURE) or AZURE_PATH in parts.path


def is_local(base_url: str) -> bool:
    """Whether a URL points at this very machine.

    >>> is_local("http://localhost:8000/v1"), is_local("http://127.0.0.1"), is_local("https://api.openai.com/v1")
    (True, True, False)
    """
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (or the system) names for a URL; None is the direct way.

    This very machine is reached directly, as Go's programs do, else a local model behind a company's proxy would be
    looked for outside.

    Raises:
        BadInput: If it is of a kind that cannot be used.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not proxy or is_local(url) or _is_direct(parts, proxies.get("no", "")):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        named = urlsplit(proxy)
        is_usable = named.scheme in ("http", "https") and named.hostname and named.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise BadInput(
            f"the proxy {without_login(proxy)!r} of {parts.scheme.upper()}_PROXY or ALL_PROXY cannot be used; name one "
            f"that begins with http://, or add {parts.hostname} to NO_PROXY"
        )
    return proxy


def without_login(url: str) -> str:
    """A URL that may be shown."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _is_direct(parts: SplitResult, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host: a name and what is below it, an address, a range, with or without a port."""
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for named in re.split(r"[\s,]+", no_proxy.lower()):
        name, _, its_port = named.rpartition(":") if re.search(r"[^:]:\d+$", named) else (named, "", "")
        if its_port and int(its_port) != port:
            continue
        name = name.strip("[]").removeprefix("*.").lstrip(".")
        if named == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        try:
            if address is not None and name and address in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False


def moved(url: str, location: str) -> str | None:
    """Where a redirect leads, if it is the same route of the same host; else None.

    From http to https is the same host, the way back is not: key and conversation would be there for all to read.

    >>> moved("http://h/v1/chat/completions", "https://h/v1/chat/completions")
    'https://h/v1/chat/completions'
    >>> moved("http://h/v1/chat/completions", "http://elsewhere/v1/chat/completions") is None
    True
    """
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        ports = old.port, new.port
    except ValueError:
        return None
    is_upgrade = (old.scheme, new.scheme) == ("http", "https")
    same_host = old.hostname == new.hostname and not new.username
    same_door = is_upgrade or (old.scheme == new.scheme and ports[0] == ports[1])
    same_route = new.path.rstrip("/").rpartition("/")[2] == old.path.rstrip("/").rpartition("/")[2]
    return urlunsplit(new._replace(fragment="")) if same_host and same_door and same_route else None


def checked_key(text: str, where: str) -> str:
    """A key without what sticks to it: blanks, quotes, a byte order mark, the word Bearer.

    Raises:
        BadInput: If it holds what no header can carry; nothing of it is shown.
    """
    key = text.strip().strip(TRANSPARENT).strip()
    if key[:1] in ("'", '"') and key[:1] == key[-1:]:
        key = key[1:-1].strip()
    if key.lower().startswith("bearer "):
        key = key[7:].strip()
    odd = _IN_NO_HEADER.search(key)
    if odd is not None:
        what = "a line break" if odd[0] in "\r\n" else f"the character U+{ord(odd[0]):04X}"
        raise BadInput(
            f"the key in {where} holds {what} after {odd.start()} characters; it must be one line, copy it again"
        )
    return key


def headers_of(base_url: str, key: str, more: Mapping[str, object]) -> dict[str, str]:
    """What is sent with every request to a server.

    Raises:
        BadInput: If a header cannot be sent.
    """
    headers = {"Content-Type": "application/json"}
    if key := checked_key(key, "the endpoint's settings"):
        # Azure reads plain keys under a name of its own; a token of Entra begins as all such tokens do.
        takes_own = is_azure(base_url) and not key.startswith("eyJ")
        headers |= {"api-key": key} if takes_own else {}
        headers |= {"Authorization": f"Bearer {key}"} if not (takes_own and _is_azures_own(base_url)) else {}
    for name, value in more.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadInput(f"header name {name!r} cannot be sent; use letters, digits and -")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadInput(f"header {name!r} is {type(value).__name__}; write its value as a text")
        text = str(value).strip()
        if odd := _IN_NO_HEADER.search(text):
            raise BadInput(f"header {name!r} holds the character U+{ord(odd[0]):04X}, which cannot be sent; correct it")
        headers[name] = text
    return headers


def _is_azures_own(base_url: str) -> bool:
    return (urlsplit(base_url).hostname or "").endswith(AZURE)
