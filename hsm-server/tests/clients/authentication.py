"""How the official clients prove who asks: the challenge, the token authority, static tokens, and what is refused."""

import time

import requests
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.keyvault.keys import KeyClient
from support import CA, CLIENT_SECRET, TENANT, URL, VAULT_URL, StaticCredential, administrator, key_client, main, new_name, new_principal, operation, refused, resolve_localhost


@operation
def challenge():
    """What a request without a token is answered, with a body or without."""
    for body in (None, b"{", b'{"kty":"EC"}'):
        answer = requests.post(f"{URL}/keys/a/create?api-version=2025-07-01", data=body, verify=CA)
        assert answer.status_code == 401, answer.status_code
        header = answer.headers["WWW-Authenticate"]
        assert header.startswith("Bearer ") and f'authorization="{URL}/' in header, header
        assert "resource=" in header or "scope=" in header, header
        assert answer.json()["error"]["code"] == "Unauthorized", answer.text
        assert answer.headers["x-ms-request-id"]


@operation
def client_secret_credential_with_resource_verification():
    """`verify_challenge_resource` as it is by default: the host must be under the challenge's resource."""
    resolve_localhost()
    keys = key_client(url=VAULT_URL)
    name = new_name("verified")
    made = keys.create_ec_key(name)
    assert keys.get_key(name).id == made.id


@operation
def client_secret_credential_without_resource_verification():
    assert key_client().create_ec_key(new_name("unverified")).key.crv == "P-256"


@operation
def resource_verification_refuses_the_bare_host():
    keys = KeyClient(URL, administrator(), connection_verify=CA)
    try:
        keys.get_random_bytes(1)
    except ValueError as error:
        assert "verify_challenge_resource" in str(error), error
    else:
        raise AssertionError("localhost is not under localhost")


@operation
def static_token():
    token = administrator().get_token(f"{URL}/.default").token
    assert key_client(StaticCredential(token)).get_random_bytes(8)


@operation
def api_token():
    _, credential = new_principal()
    error = refused(403, "AccessDenied", lambda: key_client(credential).get_random_bytes(8))
    assert "rng" in error.message, error.message


@operation
def token_of_the_authority():
    """A token says what clients and servers look at."""
    configuration = requests.get(f"{URL}/{TENANT}/v2.0/.well-known/openid-configuration", verify=CA).json()
    assert configuration["token_endpoint"].startswith(URL) and configuration["issuer"].startswith(URL)
    access = administrator().get_token(f"{URL}/.default")
    assert access.expires_on > time.time() + 60 and access.token.count(".") == 2


@operation
def wrong_secret():
    keys = key_client(administrator(client_secret=CLIENT_SECRET + "x"))
    try:
        keys.get_random_bytes(1)
    except ClientAuthenticationError:
        pass
    else:
        raise AssertionError("a wrong secret was taken")


@operation
def wrong_token():
    good = administrator().get_token(f"{URL}/.default").token
    head, payload, signature = good.split(".")
    for token in ("nonsense", f"{head}.{payload}.{'A' * len(signature)}", f"{head}.{payload}.", "hsm_t_" + "A" * 43, "hsm_s_" + "A" * 43):
        refused(401, "Unauthorized", lambda: key_client(StaticCredential(token)).get_random_bytes(1))


@operation
def no_token_for_another_audience():
    try:
        administrator().get_token("https://another.example/.default")
    except ClientAuthenticationError as error:
        assert URL in str(error), error
    else:
        raise AssertionError("the authority gives tokens for everything")


@operation
def certificate_is_verified():
    """Without the private CA, no client gets as far as a challenge."""
    keys = KeyClient(URL, administrator(), verify_challenge_resource=False, retry_total=0)
    try:
        keys.get_random_bytes(1)
    except ServiceRequestError as error:
        assert "CERTIFICATE_VERIFY_FAILED" in str(error), error
    else:
        raise AssertionError("an unknown authority was trusted")


if __name__ == "__main__":
    main()
