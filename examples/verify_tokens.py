"""Verifies the tokens of examples/tokens.rs with PyJWT: python3 verify_tokens.py FOLDER."""

import json
import pathlib
import sys

import jwt

folder = pathlib.Path(sys.argv[1])
keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(json.loads((folder / "jwks.json").read_text())).keys}
# The program has put its clock ahead; `iat` of the last tokens is yet to come.
options = {"verify_iat": False}
for token in (folder / "tokens.txt").read_text().split():
    kid = jwt.get_unverified_header(token)["kid"]
    key = keys[kid]
    claims = jwt.decode(
        token, key, algorithms=[key.algorithm_name], audience="shop", issuer="https://login.example", options=options
    )
    try:
        jwt.decode(token[:-8] + "AAAAAAAA", key, algorithms=[key.algorithm_name], audience="shop")
        sys.exit("an altered token was taken")
    except jwt.InvalidSignatureError:
        pass
    print(key.algorithm_name, kid, claims["sub"], "verified")
