"""What the scripts have in common: where the server is, who asks, and one line for each operation that passed.

The environment says where the server is:

- HSM_URL        https://localhost:PORT
- HSM_CA         the certificates to trust
- HSM_TENANT, HSM_CLIENT_ID, HSM_CLIENT_SECRET    the administrator, at the server's own token authority

Nothing here changes a client. Certificates are verified always.
"""

import base64
import os
import socket
import sys
import time
import traceback
import uuid

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient

URL = os.environ["HSM_URL"]
CA = os.environ["HSM_CA"]
TENANT = os.environ["HSM_TENANT"]
CLIENT_ID = os.environ["HSM_CLIENT_ID"]
CLIENT_SECRET = os.environ["HSM_CLIENT_SECRET"]
PORT = URL.rsplit(":", 1)[1]

# The clients' check of the challenge's resource wants a host under it, and only some resolvers know `*.localhost`.
VAULT_URL = f"https://dev.localhost:{PORT}"

_operations = []


def operation(function):
    """Registers a function as the test of the operation that its name says."""
    _operations.append(function)
    return function


def main():
    """Runs every registered operation. The exit status says whether all of them passed."""
    wanted = sys.argv[1:]
    failed = 0
    for function in _operations:
        name = function.__name__
        if wanted and name not in wanted:
            continue
        try:
            function()
        except Exception:  # Whatever it is, the other operations are of interest as well.
            failed += 1
            print(f"FAILED {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
        else:
            print(f"ok {name}", flush=True)
    sys.exit(1 if failed else 0)


def resolve_localhost():
    """Resolves `*.localhost` to this machine, as RFC 6761 wants it, for resolvers that do not."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if isinstance(host, str) and host.endswith(".localhost"):
            host = "localhost"
        return resolve(host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo


class StaticCredential:
    """A credential that has one token."""

    def __init__(self, token):
        self._token = token

    def get_token(self, *scopes, claims=None, tenant_id=None, enable_cae=False, **options):
        return AccessToken(self._token, int(time.time()) + 3600)

    def get_token_info(self, *scopes, options=None):
        return AccessTokenInfo(self._token, int(time.time()) + 3600)


def administrator(**options):
    """The administrator, with a secret at the server's own authority."""
    return ClientSecretCredential(
        options.pop("tenant", TENANT),
        options.pop("client_id", CLIENT_ID),
        options.pop("client_secret", CLIENT_SECRET),
        authority=URL,
        disable_instance_discovery=True,
        connection_verify=CA,
        **options,
    )


def client(kind, credential=None, **options):
    """A client of this kind. The resource of the challenge is verified where the host allows it."""
    options.setdefault("connection_verify", CA)
    url = options.pop("url", URL)
    options.setdefault("verify_challenge_resource", url != URL)
    return kind(url, credential or administrator(), **options)


def key_client(credential=None, **options):
    return client(KeyClient, credential, **options)


def send(keys, method, path, body=None):
    """A request through a client's own pipeline, for what it has no method for."""
    return keys.send_request(HttpRequest(method, f"{keys.vault_url}{path}", json=body))


def new_principal():
    """A principal without any role, and a credential for it: an API token that the administrator made."""
    principal = str(uuid.uuid4())
    name = f"t{principal}"
    answer = send(key_client(), "PUT", f"/hsm/v1/tokens/{name}", {"principal": principal, "expires": (int(time.time()) + 3600) * 1000})
    assert answer.status_code in (200, 201), (answer.status_code, answer.text())
    return principal, StaticCredential(answer.json()["token"])


_run = uuid.uuid4().hex[:8]
_names = 0


def new_name(what="key"):
    """A name for a key that no other test has, so that the scripts can be run again on the same server."""
    global _names
    _names += 1
    return f"{what}-{_run}-{_names}"


def refused(status, code, call, *says):
    """Makes a call that must be refused, with this status and code and a message that says these things."""
    try:
        call()
    except HttpResponseError as error:
        told = f"{error.status_code} {error.error and error.error.code}: {error.message}"
        assert error.status_code == status, told
        assert error.error is not None and error.error.code == code, told
        for text in says:
            assert text in error.message, f"{text!r} is not in {told}"
        return error
    raise AssertionError(f"not refused with {status} {code}")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
