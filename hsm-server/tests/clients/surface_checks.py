"""What schemathesis sends as, and what it checks of every answer. Loaded through SCHEMATHESIS_HOOKS.

HSM_CALLER says who asks: `administrator`, who may get anything but a failure of the server, or `nobody`, who in addition may
get nothing that succeeds, but where the document says that anybody may ask. The rest of the environment is that of support.py.
"""

import os
import re
import zlib

import requests
import schemathesis

CALLER = os.environ["HSM_CALLER"]
URL = os.environ["HSM_URL"]
KEYS = 6


def access_token():
    """A token of the server's own authority."""
    answer = requests.post(
        f"{URL}/{os.environ['HSM_TENANT']}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": os.environ["HSM_CLIENT_ID"],
            "client_secret": os.environ["HSM_CLIENT_SECRET"],
            "scope": f"{URL}/.default",
        },
        verify=os.environ["HSM_CA"],
    )
    return answer.json()["access_token"]


if CALLER == "administrator":
    # It outlives the run.
    TOKEN = access_token()

    @schemathesis.auth()
    class Administrator:
        def get(self, case, context):
            return TOKEN

        def set(self, case, data, context):
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most names of keys become one of a few, so that keys are used, rotated and deleted that were made before."""
    name = (path_parameters or {}).get("name")
    if isinstance(name, str) and re.fullmatch("[0-9a-zA-Z-]{1,127}", name):
        number = zlib.crc32(name.encode())
        if number % 4:
            path_parameters["name"] = f"key{number // 4 % KEYS}"
    return path_parameters


@schemathesis.check
def the_server_does_not_fail(ctx, response, case):
    """No 5xx, but 501 where the document says that an operation is not there yet."""
    if response.status_code < 500:
        return
    documented = case.operation.definition.raw.get("responses", {})
    if response.status_code == 501 and set(documented) & {"501", 501}:
        return
    raise AssertionError(f"{case.operation.label} answered {response.status_code}: {response.text[:500]}")


@schemathesis.check
def nobody_gets_nothing(ctx, response, case):
    """Without a token nothing succeeds, but where the document asks for none."""
    if CALLER != "nobody" or response.status_code >= 400:
        return
    if case.operation.definition.raw.get("security") == []:
        return
    raise AssertionError(f"{case.operation.label} answered {response.status_code} to nobody: {response.text[:500]}")


@schemathesis.check
def errors_have_a_code(ctx, response, case):
    """Every refusal is an error body as the clients read it."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    try:
        error = response.json()["error"]
        coded = error["code"] and error["message"]
    except (ValueError, LookupError, TypeError):
        coded = False
    assert coded, f"{response.status_code} without a code: {response.text[:500]!r}"
