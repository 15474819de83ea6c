#!/usr/bin/env python3
"""Encrypted data as docs/envelope.md has it, by another implementation: Python's `cryptography` and nothing of ours.

    envelope.py vectors > envelope.json             writes the test vectors
    envelope.py open DATA-KEY CONTEXT < in > out    decrypts under a data key in hex
    envelope.py unwrap KEK CONTEXT < in > out       the same under an AES key in hex, which unwraps the data key
"""

import hmac
import json
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding

A256KWP = 55


def derive(data_key, salt, info, length):
    return HKDF(SHA256(), length, salt, info).derive(data_key)


def header_code(data_key, salt, header):
    return hmac.digest(derive(data_key, salt, b"hsm data v1 header", 32), header, "sha256")


def stream(data_key, salt, suite, context):
    secret = derive(data_key, salt, b"hsm data v1 stream" + suite + context, 39)
    cipher, prefix = AESGCM(secret[:32]), secret[32:]
    return cipher, lambda number, last: prefix + number.to_bytes(4, "big") + bytes([last])


def seal(vector):
    field = lambda name: bytes.fromhex(vector[name])
    data_key, salt = field("data_key"), field("salt")
    name, wrapped = vector["key_name"].encode(), field("wrapped")
    suite = bytes([1, 1, vector["segment_len_log2"]])
    header = b"hsm data" + suite + bytes([vector["wrapping"]]) + salt + field("version")
    header += bytes([len(name)]) + name + len(wrapped).to_bytes(2, "big") + wrapped
    sealed = header + header_code(data_key, salt, header)
    cipher, nonce = stream(data_key, salt, suite, field("context"))
    plaintext, length = field("plaintext"), 1 << vector["segment_len_log2"]
    segments = [plaintext[at : at + length] for at in range(0, len(plaintext), length)] or [b""]
    for number, segment in enumerate(segments):
        sealed += cipher.encrypt(nonce(number, number == len(segments) - 1), segment, None)
    return sealed


def open_(sealed, context, unwrap):
    assert sealed[:8] == b"hsm data" and sealed[8:10] == bytes([1, 1]), "not ours"
    suite, length, salt = sealed[8:11], 1 << sealed[10], sealed[12:28]
    at = 45 + sealed[44]
    end = at + 2 + int.from_bytes(sealed[at : at + 2], "big")
    data_key = unwrap(sealed[at + 2 : end])
    assert hmac.compare_digest(header_code(data_key, salt, sealed[:end]), sealed[end : end + 32]), "altered header"
    cipher, nonce = stream(data_key, salt, suite, context)
    body, plaintext, number = sealed[end + 32 :], b"", 0
    while True:
        segment, body = body[: length + 16], body[length + 16 :]
        plaintext += cipher.decrypt(nonce(number, not body), segment, None)
        number += 1
        if not body:
            return plaintext


def vectors():
    kek, data_key = bytes(range(32)), bytes(range(32, 64))
    common = {
        "kek": kek.hex(),
        "data_key": data_key.hex(),
        "wrapping": A256KWP,
        "wrapped": aes_key_wrap_with_padding(kek, data_key).hex(),
        "version": bytes(range(0x80, 0x90)).hex(),
        "salt": bytes(range(0xA0, 0xB0)).hex(),
    }
    cases = [
        ("nothing", "k", 16, b"", 0),
        ("a few bytes", "customer-data", 16, b"customers/17/card", 19),
        ("one segment", "k", 6, b"", 64),
        ("one segment and a byte", "k", 6, b"", 65),
        ("three segments with a context", "customer-data", 6, b"backup", 192),
        ("a part of a fourth", "k" * 127, 6, b"\x00", 200),
    ]
    made = []
    for name, key_name, log2, context, length in cases:
        vector = {"name": name} | common
        vector |= {"key_name": key_name, "segment_len_log2": log2, "context": context.hex()}
        vector["plaintext"] = bytes(i * 7 % 256 for i in range(length)).hex()
        vector["sealed"] = seal(vector).hex()
        made.append(vector)
    json.dump(made, sys.stdout, indent=2)
    print()


def main():
    match sys.argv[1:]:
        case ["vectors"]:
            vectors()
        case ["open", key, context]:
            unwrap = lambda wrapped: bytes.fromhex(key)
            sys.stdout.buffer.write(open_(sys.stdin.buffer.read(), context.encode(), unwrap))
        case ["unwrap", key, context]:
            unwrap = lambda wrapped: aes_key_unwrap_with_padding(bytes.fromhex(key), wrapped)
            sys.stdout.buffer.write(open_(sys.stdin.buffer.read(), context.encode(), unwrap))
        case _:
            sys.exit(__doc__)


main()
