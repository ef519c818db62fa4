# SPDX-License-Identifier: LGPL-2.1-or-later
"""Text from outside, once it is cleaned: one line that moves nothing on a terminal and turns no text around."""

from idled.words import clean

#: Marks that turn the direction of text, and those that show nothing at all.
HIDDEN = {0xAD, 0x61C, 0xFEFF, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070)}


def cleaned(data: bytes) -> None:
    for text in (data.decode(errors="surrogateescape"), data[len(data) % 2 :].decode("utf-16-le", "surrogatepass")):
        for length in (256, 64, 0):
            out = clean(text, length)
            assert len(out) == min(len(text), length)
            assert clean(out, length) == out
            assert len(out.splitlines()) <= 1
            out.encode()
            assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 or ord(sign) in HIDDEN for sign in out)
            assert all(one in (two, "?") for one, two in zip(out, text, strict=False))
