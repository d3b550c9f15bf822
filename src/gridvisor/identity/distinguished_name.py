"""Names in certificates: as Grid software writes them, and the file names that OpenSSL makes of them."""

from __future__ import annotations

import hashlib
import re

from cryptography import x509
from cryptography.x509.oid import NameOID

# Every name that a test authority gives lies below this one, so its signing policy can allow these and no others.
_ABOVE = (x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "test"), x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "grid"))
_SEQUENCE, _SET, _OID, _UTF8 = 0x30, 0x31, 0x06, 0x0C


def grid_name(common_name: str) -> x509.Name:
    """The name that a test authority gives to a host, a user or itself."""
    return x509.Name([*_ABOVE, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def grid_dn(common_name: str) -> str:
    """The same in slash form: '/DC=test/DC=grid/CN=tester'."""
    return slash_form(grid_name(common_name))


def slash_form(name: x509.Name) -> str:
    """`name` as grid-mapfiles, signing policies and ARC's configuration have it: '/DC=test/DC=grid/CN=tester'."""
    return "".join(f"/{attribute.rfc4514_attribute_name}={attribute.value!s}" for attribute in name)


def subject_hash(name: x509.Name) -> str:
    """What `openssl x509 -subject_hash` prints: the name of an authority's files in /etc/grid-security/certificates.

    OpenSSL hashes not the name's own encoding but one in which all strings are UTF-8, in lower case and with single
    spaces (x509_name_canon in its crypto/x509/x_name.c), so that names that compare equal have one hash.
    """
    parts = (_der(_SET, b"".join(sorted(_canonical(attribute) for attribute in part))) for part in name.rdns)
    digest = hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    text = attribute.value if isinstance(attribute.value, str) else attribute.value.decode("latin-1")
    text = re.sub(r"[ \t\n\v\f\r]+", " ", text).strip(" ")
    text = re.sub(r"[A-Z]+", lambda capitals: capitals[0].lower(), text)
    return _der(_SEQUENCE, _der(_OID, _numbers(attribute.oid.dotted_string)) + _der(_UTF8, text.encode()))


def _numbers(dotted: str) -> bytes:
    """An object identifier's contents: seven bits a byte, the first two numbers in one."""
    first, second, *rest = (int(number) for number in dotted.split("."))
    encoded = b""
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return encoded


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content
