"""What refusals look like in the official clients: statuses, codes, and messages that say what to do."""

import requests
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyRotationPolicy
from support import CA, URL, administrator, key_client, main, new_name, new_principal, operation, refused, send

keys = key_client()
PREFIX = "Microsoft.KeyVault/managedHsm/"


@operation
def forbidden_names_the_action_and_the_scope():
    _, credential = new_principal()
    nobody = key_client(credential)
    name = new_name()
    keys.create_ec_key(name)
    for action, scope, call in (
        ("keys/create", f"/keys/{name}", lambda: nobody.create_ec_key(name)),
        ("keys/read/action", f"/keys/{name}", lambda: nobody.get_key(name)),
        ("keys/read/action", "/keys", lambda: list(nobody.list_properties_of_keys())),
        ("keys/write/action", f"/keys/{name}", lambda: nobody.update_key_properties(name, enabled=False)),
        ("keys/delete", f"/keys/{name}", lambda: nobody.begin_delete_key(name)),
        ("keys/deletedKeys/read/action", "/keys", lambda: list(nobody.list_deleted_keys())),
        ("keys/deletedKeys/recover/action", f"/keys/{name}", lambda: nobody.begin_recover_deleted_key(name)),
        ("keys/deletedKeys/delete", f"/keys/{name}", lambda: nobody.purge_deleted_key(name)),
        ("keys/backup/action", f"/keys/{name}", lambda: nobody.backup_key(name)),
        ("keys/rotate/action", f"/keys/{name}", lambda: nobody.rotate_key(name)),
        ("keys/read/action", f"/keys/{name}", lambda: nobody.get_key_rotation_policy(name)),
        ("keys/write/action", f"/keys/{name}", lambda: nobody.update_key_rotation_policy(name, KeyRotationPolicy(expires_in="P1Y"))),
        ("rng/action", "/", lambda: nobody.get_random_bytes(1)),
    ):
        refused(403, "AccessDenied", call, PREFIX + action, scope)


@operation
def a_missing_key_looks_like_one_that_one_may_not_see():
    _, credential = new_principal()
    nobody = key_client(credential)
    there, missing = new_name(), new_name()
    keys.create_ec_key(there)
    messages = [refused(403, "AccessDenied", lambda: nobody.get_key(name)).message.replace(name, "NAME") for name in (there, missing)]
    assert messages[0] == messages[1], messages


@operation
def not_found():
    try:
        keys.get_key(new_name("none"))
    except ResourceNotFoundError as error:
        assert error.error.code == "KeyNotFound" and error.status_code == 404
    else:
        raise AssertionError("found")


@operation
def deleted_but_recoverable():
    name = new_name("conflict")
    keys.create_ec_key(name)
    keys.begin_delete_key(name).wait()
    try:
        keys.create_ec_key(name)
    except ResourceExistsError as error:
        assert error.status_code == 409 and error.error.code == "Conflict", error
        inner = error.response.json()["error"]["innererror"]["code"]
        assert inner == "ObjectIsDeletedButRecoverable", inner
    else:
        raise AssertionError("created over a deleted key")


@operation
def bad_parameters():
    good = new_name()
    for path, body in (
        ("/keys/under_score/create", {"kty": "EC", "crv": "P-256"}),
        (f"/keys/{'a' * 128}/create", {"kty": "EC", "crv": "P-256"}),
        (f"/keys/{good}/create", {}),
        (f"/keys/{good}/create", {"kty": "DSA"}),
        (f"/keys/{good}/create", {"kty": "EC", "crv": "P-224"}),
        (f"/keys/{good}/create", {"kty": "RSA", "key_size": 1024}),
        (f"/keys/{good}/create", {"kty": "EC", "crv": "P-256", "key_ops": ["fly"]}),
        (f"/keys/{good}/create", {"kty": "EC", "crv": "P-256", "attributes": {"enabled": "yes"}}),
        (f"/keys/{good}/create", {"kty": "EC", "crv": "P-256", "attributes": {"exp": -1}}),
        ("/rng", {"count": "many"}),
    ):
        answer = send(keys, "POST", path, body)
        assert answer.status_code == 400, (path, body, answer.status_code, answer.text())
        error = answer.json()["error"]
        assert error["code"] == "BadParameter" and error["message"], error
    assert send(keys, "POST", f"/keys/{'a' * 127}/create", {"kty": "EC", "crv": "P-256"}).status_code == 200
    assert send(keys, "DELETE", f"/keys/{'a' * 127}").status_code == 200
    assert send(keys, "DELETE", f"/deletedkeys/{'a' * 127}").status_code == 204


@operation
def no_such_path_and_no_such_method():
    for path in ("/", "/nothing", "/keys/a/b/c/d"):
        assert send(keys, "GET", path).status_code == 404, path
    answer = send(keys, "PUT", "/keys")
    assert answer.status_code == 405 and answer.headers["Allow"] == "GET", (answer.status_code, dict(answer.headers))


@operation
def secrets_and_certificates_are_not_there_yet():
    for method, path in (("GET", "/secrets"), ("PUT", "/secrets/a"), ("GET", "/certificates"), ("POST", "/certificates/a/create")):
        answer = send(keys, method, path)
        assert answer.status_code == 501, (path, answer.status_code, answer.text())
        assert answer.json()["error"]["code"] == "NotImplemented"


@operation
def headers_of_an_answer():
    request_id = "0f7d2b2c-5a52-4e39-9c2b-0d2f9f1f4a11"
    token = administrator().get_token(f"{URL}/.default").token
    answer = requests.get(
        f"{URL}/keys?api-version=2025-07-01", verify=CA, headers={"Authorization": f"Bearer {token}", "x-ms-client-request-id": request_id})
    assert answer.status_code == 200 and answer.headers["x-ms-client-request-id"] == request_id, dict(answer.headers)
    assert answer.headers["x-ms-request-id"] and answer.headers["Content-Type"].startswith("application/json")


@operation
def trailing_slash_and_escaped_query_names():
    name = new_name()
    made = keys.create_ec_key(name)
    token = administrator().get_token(f"{URL}/.default").token
    for path in (f"/keys/{name}/?api-version=7.4", f"/keys/{name}?api%2Dversion=2026-04-01", f"/keys/{name}/{made.properties.version}/?api-version=7.6-preview.2"):
        answer = requests.get(URL + path, verify=CA, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200 and answer.json()["key"]["kid"] == made.id, (path, answer.text)


if __name__ == "__main__":
    main()
