"""Changes of content that a reader should survive: of bytes, lines, numbers and JSON."""

import functools
import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]
"""Changes content."""

# Numbers at which arithmetic breaks: signs, ends of types, what floats cannot hold.
NUMBERS = [
    *[0, 1, -1, 2, 3, 127, 128, 255, 256, 32767, 65535, 65536, 2**24 + 1, 2**31 - 1, 2**31],
    *[2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -(2**31), -(2**63)],
]
FLOATS = [0.0, -0.0, 1e-320, 1e-30, 0.5, 1e30, 1e308, -1e308, float("inf"), float("nan")]
WORDS = [
    *["", " ", "\t", "\0", "\x1b[31m", "nan", "inf", "-inf", "1e400", "0x10", "1_000", "٣", "½"],
    *[
        "999999999999999999999999",
        "-1",
        "1.5",
        "(1,2",
        "none",
        "None",
        "true",
        "../../x",
        "a" * 5000,
    ],
    *[
        "\\ud800",
        "‮",
        "é" * 50,
        "=1+1",
        "%s%n",
        "{}",
        "[]",
        "s0",
        "uint64",
        "float16",
        "|O",
        "object",
    ],
]
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")


def mutate_bytes(data: bytes, chance: Random) -> bytes:
    """Change a few bytes, lose some, double some, or put a number of some type among them."""
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        data = chance.choice(_BYTES)(data, chance)
    return data


def _flipped(data: bytes, chance: Random) -> bytes:
    if not data:
        return b"\0"
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]


def _part(data: bytes, chance: Random) -> tuple[int, int]:
    start, stop = sorted(chance.randint(0, len(data)) for _ in range(2))
    return start, min(stop, start + chance.choice((1, 4, 64, 4096)))


def _lost(data: bytes, chance: Random) -> bytes:
    start, stop = _part(data, chance)
    return data[:start] + data[stop:]


def _doubled(data: bytes, chance: Random) -> bytes:
    start, stop = _part(data, chance)
    return data[:stop] + data[start:stop] * chance.randint(1, 9) + data[stop:]


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _filled(data: bytes, chance: Random) -> bytes:
    start, stop = _part(data, chance)
    return data[:start] + bytes([chance.choice((0, 255, 32))]) * (stop - start) + data[stop:]


def _numbered(data: bytes, chance: Random) -> bytes:
    place = 2 * chance.randint(0, len(data) // 2)
    number = packed_number(chance)
    return data[:place] + number + data[place + len(number) :]


_BYTES: list[Mutator] = [_flipped, _flipped, _lost, _doubled, _cut, _filled, _numbered, _numbered]


def packed_number(chance: Random) -> bytes:
    """A number at which arithmetic breaks, in one of the types of headers."""
    order = chance.choice("<>")
    if chance.random() < 0.3:
        return struct.pack(order + "d", chance.choice(FLOATS))
    if chance.random() < 0.3:
        return struct.pack(order + "f", min(max(chance.choice(FLOATS), -3e38), 3e38))
    size = chance.choice((1, 2, 4, 8))
    value = chance.choice(NUMBERS) % 2 ** (8 * size)
    return value.to_bytes(size, "little" if order == "<" else "big")


def mutate_text(data: bytes, chance: Random) -> bytes:
    """Change lines, words and numbers; now and then bytes."""
    if chance.random() < 0.1:
        return mutate_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = chance.choice((_with_number, _with_number, _with_word, _with_lines))(data, chance)
    return data


def _word(chance: Random) -> bytes:
    if chance.random() < 0.5:
        return str(chance.choice([*NUMBERS, *FLOATS])).encode()
    return chance.choice(WORDS).encode("utf-8", "surrogatepass")


def _with_number(data: bytes, chance: Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return _with_word(data, chance)
    start, stop = chance.choice(found).span()
    return data[:start] + _word(chance) + data[stop:]


def _with_word(data: bytes, chance: Random) -> bytes:
    words = [match.span() for match in re.finditer(rb"[^\s,;\"]+", data)]
    start, stop = chance.choice(words) if words else (0, 0)
    return data[:start] + _word(chance) + data[stop:]


def _with_lines(data: bytes, chance: Random) -> bytes:
    lines = data.split(b"\n")
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    action = chance.randrange(4)
    if action == 0:
        lines.insert(place, lines[other])
    elif action == 1:
        lines[place], lines[other] = lines[other], lines[place]
    elif action == 2:
        del lines[place]
    else:
        lines[place] += chance.choice((b"\r", b",,,", b'"', b"\t", b";", b" " * 9000))
    return b"\n".join(lines)


# ----- JSON


def mutate_json(data: bytes, chance: Random) -> bytes:
    """Change values of a document, take some away, rename and double some; now and then bytes."""
    if chance.random() < 0.1:
        return mutate_text(data, chance)
    try:
        document = json.loads(data)
    except ValueError:
        return mutate_text(data, chance)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        document = _with_change(document, chance)
    return json.dumps(document).encode()


def _places(document: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        found.append((document, key))
        if isinstance(value, dict | list):
            _places(value, found)
    return found


def _with_change(document: Any, chance: Random) -> Any:
    places = _places(document, []) if isinstance(document, dict | list) else []
    if not places or chance.random() < 0.02:
        return _value(document, chance)
    holder, key = chance.choice(places)
    action = chance.randrange(8)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[chance.choice(WORDS)] = holder.pop(key)
    elif action == 2 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif action == 3:
        other, place = chance.choice(places)
        # A place may have gone with the one that was changed before.
        holder[key] = json.loads(json.dumps(other[place]))
    else:
        holder[key] = _value(holder[key], chance)
    return document


def _value(value: Any, chance: Random) -> Any:
    nested: Any = value if chance.random() < 0.5 else []
    for _ in range(chance.choice((1, 3, 200))):
        nested = [nested] if chance.random() < 0.5 else {"a": nested}
    others = [None, True, False, {}, [], [value], {"x": value}, nested, [value] * 50, "\ud800"]
    if isinstance(value, int | float) and chance.random() < 0.7:
        return chance.choice([*NUMBERS, *FLOATS, str(value), value + 1, -value])
    if isinstance(value, str) and chance.random() < 0.6:
        return chance.choice([*WORDS, value.upper(), value[::-1], value * 3])
    return chance.choice([*others, *NUMBERS, *WORDS, chance.choice(FLOATS)])


# ----- within compression

# Beyond this, what is compressed is a bomb of ours.
_LARGEST = 2**20


def within_gzip(mutate: Mutator) -> Mutator:
    """Change what is compressed, and compress it again."""

    def mutated(data: bytes, chance: Random) -> bytes:
        try:
            if len(data) > _LARGEST:
                raise ValueError("a bomb")
            content = gzip.decompress(data)
        except (ValueError, EOFError, OSError, zlib.error):  # was changed before
            return mutate_bytes(data, chance)
        return gzip.compress(mutate(content, chance), 1, mtime=0)

    return mutated


# Of zeros: far more than any case of ours holds, and than a reader of one may take.
BOMB_BYTES = 2**31
_RLE_BLOCK = 2**17


def gzip_bomb(data: bytes, chance: Random) -> bytes:
    """Two gigabytes of zeros in two megabytes, in place of what was there or behind it."""
    return (data if chance.random() < 0.5 else b"") + _gzip_zeros() * (BOMB_BYTES >> 24)


@functools.cache
def _gzip_zeros() -> bytes:
    return gzip.compress(bytes(2**24), 9, mtime=0)


def zstd_bomb(data: bytes, chance: Random) -> bytes:
    """Two gigabytes of zeros in a frame of 64 kB, which says so, or says less."""
    count = BOMB_BYTES // _RLE_BLOCK
    stated = chance.choice((BOMB_BYTES, len(data), 2**62))
    header = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", stated)
    blocks = [
        ((n == count - 1) | (1 << 1) | (_RLE_BLOCK << 3)).to_bytes(3, "little") + b"\0"
        for n in range(count)
    ]
    return header + b"".join(blocks)
