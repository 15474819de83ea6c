"""What schemathesis checks of every answer. Loaded through SCHEMATHESIS_HOOKS.

HSM_CALLER says who asks: `administrator`, who may get anything but a failure of the server, or `nobody`, who in addition may
get nothing that succeeds, but where the document says that anybody may ask.
"""

import os

import schemathesis


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
    if os.environ.get("HSM_CALLER") != "nobody" or response.status_code >= 400:
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
