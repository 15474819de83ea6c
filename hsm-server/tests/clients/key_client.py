"""Every operation of the official KeyClient."""

import os
from datetime import datetime, timedelta, timezone

from azure.keyvault.keys import (
    ApiVersion,
    JsonWebKey,
    KeyCurveName,
    KeyOperation,
    KeyReleasePolicy,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
    KeyType,
)
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from support import key_client, main, new_name, operation, refused

keys = key_client()

CURVES = {
    KeyCurveName.p_256: ec.SECP256R1(),
    KeyCurveName.p_384: ec.SECP384R1(),
    KeyCurveName.p_521: ec.SECP521R1(),
    KeyCurveName.p_256_k: ec.SECP256K1(),
}


def deleted(key_name):
    """Deletes a key and waits for it."""
    poller = keys.begin_delete_key(key_name)
    poller.wait()
    return poller.result()


def in_seconds(**later):
    """A time from now on. The API has whole seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(**later)


def unsigned(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def coordinate(number, curve):
    return number.to_bytes((curve.key_size + 7) // 8, "big")


def rsa_jwk(private, **more):
    numbers = private.private_numbers()
    public = numbers.public_numbers
    return JsonWebKey(
        kty="RSA", n=unsigned(public.n), e=unsigned(public.e), d=unsigned(numbers.d), p=unsigned(numbers.p),
        q=unsigned(numbers.q), dp=unsigned(numbers.dmp1), dq=unsigned(numbers.dmq1), qi=unsigned(numbers.iqmp), **more,
    )


def ec_jwk(private, crv, **more):
    numbers = private.private_numbers()
    public = numbers.public_numbers
    return JsonWebKey(
        kty="EC", crv=crv, d=coordinate(numbers.private_value, private.curve), x=coordinate(public.x, private.curve),
        y=coordinate(public.y, private.curve), **more,
    )


@operation
def create_ec_key():
    for crv, curve in CURVES.items():
        for hardware in (True, False):
            name = new_name("ec")
            key = keys.create_ec_key(name, curve=crv, hardware_protected=hardware)
            assert key.name == name and key.properties.version and len(key.properties.version) == 32
            assert key.id == f"{keys.vault_url}/keys/{name}/{key.properties.version}", key.id
            assert key.key_type == KeyType.ec_hsm, key.key_type
            assert key.key.crv == crv and key.key.d is None
            assert set(key.key_operations) == {"sign", "verify"}, key.key_operations
            assert len(key.key.x) == len(key.key.y) == (curve.key_size + 7) // 8
            # Loading the point fails if it is not on the curve.
            ec.EllipticCurvePublicNumbers(int.from_bytes(key.key.x), int.from_bytes(key.key.y), curve).public_key()


@operation
def create_rsa_key():
    for size in (2048, 3072, 4096):
        for hardware in (True, False) if size == 2048 else (True,):
            key = keys.create_rsa_key(new_name("rsa"), size=size, hardware_protected=hardware)
            assert key.key_type == KeyType.rsa_hsm, key.key_type
            assert int.from_bytes(key.key.n).bit_length() == size and len(key.key.n) == size // 8
            assert key.key.e == b"\x01\x00\x01" and key.key.d is None and key.key.p is None
            assert set(key.key_operations) == {"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
    assert keys.create_rsa_key(new_name("rsa"), size=2048, public_exponent=65537).key.e == b"\x01\x00\x01"
    # Without a size: 2048, as the service does.
    assert len(keys.create_rsa_key(new_name("rsa")).key.n) == 256


@operation
def create_oct_key():
    for size in (128, 192, 256):
        for hardware in (True, False):
            key = keys.create_oct_key(new_name("oct"), size=size, hardware_protected=hardware)
            assert key.key_type == KeyType.oct_hsm, key.key_type
            assert key.key.k is None and key.key.n is None
            assert set(key.key_operations) == {"encrypt", "decrypt", "wrapKey", "unwrapKey"}, key.key_operations
    assert keys.create_oct_key(new_name("oct")).key_type == KeyType.oct_hsm


@operation
def create_key_by_type():
    for key_type, reported in (("EC", "EC-HSM"), ("EC-HSM", "EC-HSM"), ("RSA", "RSA-HSM"), ("oct", "oct-HSM"), ("oct-HSM", "oct-HSM")):
        assert keys.create_key(new_name("any"), key_type).key_type == reported


@operation
def create_with_attributes():
    not_before, expires = in_seconds(hours=-1), in_seconds(days=30)
    key = keys.create_rsa_key(
        new_name("attributes"), size=2048, key_operations=[KeyOperation.sign, KeyOperation.verify], enabled=False,
        tags={"team": "red", "Größe": "klein"}, not_before=not_before, expires_on=expires,
    )
    properties = key.properties
    assert key.key_operations == ["sign", "verify"], key.key_operations
    assert properties.enabled is False and properties.tags == {"team": "red", "Größe": "klein"}, properties.tags
    assert properties.not_before == not_before and properties.expires_on == expires
    assert abs(properties.created_on - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert properties.updated_on >= properties.created_on
    assert 7 <= properties.recoverable_days <= 90, properties.recoverable_days
    assert properties.recovery_level == "Recoverable+Purgeable", properties.recovery_level
    assert not properties.exportable and not properties.managed
    again = keys.get_key(key.name)
    assert again.properties.tags == properties.tags and again.properties.expires_on == expires


@operation
def create_again_adds_a_version():
    name = new_name("again")
    first = keys.create_ec_key(name)
    second = keys.create_ec_key(name, curve="P-384", tags={"version": "2"})
    assert first.properties.version != second.properties.version
    assert keys.get_key(name).id == second.id and keys.get_key(name, first.properties.version).key.crv == "P-256"


@operation
def create_with_every_api_version():
    for version in ("7.4", "7.5", "7.6", "2025-07-01"):
        assert version in [v.value for v in ApiVersion]
        assert key_client(api_version=version).create_ec_key(new_name("api")).key.crv == "P-256"


@operation
def import_rsa_key():
    for size in (2048, 3072):
        private = rsa.generate_private_key(65537, size)
        for hardware in (True, False):
            key = keys.import_key(
                new_name("import"), rsa_jwk(private, key_ops=["sign", "verify"]), hardware_protected=hardware, tags={"from": "outside"}
            )
            assert key.key_type == KeyType.rsa_hsm and int.from_bytes(key.key.n) == private.public_key().public_numbers().n
            assert key.key.d is None and set(key.key_operations) == {"sign", "verify"} and key.properties.tags == {"from": "outside"}


@operation
def import_ec_key():
    for crv, curve in CURVES.items():
        private = ec.generate_private_key(curve)
        key = keys.import_key(new_name("import"), ec_jwk(private, crv), enabled=True)
        assert key.key_type == KeyType.ec_hsm and key.key.crv == crv and key.key.d is None
        assert int.from_bytes(key.key.x) == private.public_key().public_numbers().x


@operation
def import_oct_key():
    for size in (128, 192, 256):
        jwk = JsonWebKey(kty="oct-HSM", k=os.urandom(size // 8), key_ops=["encrypt", "decrypt", "wrapKey", "unwrapKey"])
        key = keys.import_key(new_name("import"), jwk, hardware_protected=True)
        assert key.key_type == KeyType.oct_hsm and key.key.k is None
        assert set(key.key_operations) == {"encrypt", "decrypt", "wrapKey", "unwrapKey"}


@operation
def import_refuses_a_public_key():
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = ec_jwk(private, "P-256")
    jwk.d = None
    refused(400, "BadParameter", lambda: keys.import_key(new_name("import"), jwk))


@operation
def get_key():
    name = new_name("get")
    made = keys.create_ec_key(name)
    assert keys.get_key(name).id == made.id
    assert keys.get_key(name, made.properties.version).key.x == made.key.x
    refused(404, "KeyNotFound", lambda: keys.get_key(new_name("none")))
    refused(404, "KeyNotFound", lambda: keys.get_key(name, "0" * 32))


@operation
def list_properties_of_key_versions():
    name = new_name("versions")
    made = {keys.create_oct_key(name, size=128).properties.version for _ in range(27)}
    listed = list(keys.list_properties_of_key_versions(name))
    assert {properties.version for properties in listed} == made and len(listed) == 27
    assert all(properties.name == name and properties.enabled for properties in listed)


@operation
def list_properties_of_keys():
    made = {new_name("list") for _ in range(30)}
    for name in made:
        keys.create_oct_key(name, size=128, tags={"of": "the list"})
    listed = [properties for properties in keys.list_properties_of_keys() if properties.name in made]
    assert {properties.name for properties in listed} == made and len(listed) == 30
    assert all(properties.tags == {"of": "the list"} and properties.enabled and properties.created_on for properties in listed)
    pages = [list(page) for page in keys.list_properties_of_keys().by_page()]
    assert len(pages) > 1 and all(len(page) <= 25 for page in pages), [len(page) for page in pages]
    small = [list(page) for page in keys.list_properties_of_keys(max_page_size=7).by_page()]
    assert all(len(page) <= 7 for page in small), [len(page) for page in small]
    assert sum(map(len, small)) == sum(map(len, pages))


@operation
def update_key_properties():
    name = new_name("update")
    first = keys.create_rsa_key(name, size=2048, tags={"old": "1"})
    expires, not_before = in_seconds(days=10), in_seconds(hours=-1)
    updated = keys.update_key_properties(
        name, enabled=False, tags={"new": "2"}, expires_on=expires, not_before=not_before, key_operations=["sign", "verify"]
    )
    assert updated.properties.enabled is False and updated.properties.tags == {"new": "2"}
    assert updated.properties.expires_on == expires and updated.properties.not_before == not_before
    assert set(updated.key_operations) == {"sign", "verify"} and updated.key.n == first.key.n
    second = keys.create_rsa_key(name, size=2048)
    older = keys.update_key_properties(name, first.properties.version, enabled=True)
    assert older.id == first.id and older.properties.enabled and older.properties.tags == {"new": "2"}
    assert keys.get_key(name).id == second.id and not keys.get_key(name).properties.tags


@operation
def update_does_not_add_operations():
    name = new_name("update")
    keys.create_rsa_key(name, size=2048, key_operations=["sign"])
    try:
        updated = keys.update_key_properties(name, key_operations=["sign", "verify", "decrypt"])
    except Exception:
        assert keys.get_key(name).key_operations == ["sign"]
    else:
        raise AssertionError(f"a key gained operations: {updated.key_operations}")


@operation
def begin_delete_key():
    name = new_name("delete")
    made = keys.create_ec_key(name)
    gone = deleted(name)
    assert gone.name == name and gone.id == made.id and gone.key.x == made.key.x
    assert gone.recovery_id == f"{keys.vault_url}/deletedkeys/{name}", gone.recovery_id
    assert gone.deleted_date and gone.scheduled_purge_date > gone.deleted_date
    refused(404, "KeyNotFound", lambda: keys.get_key(name))
    refused(404, "KeyNotFound", lambda: keys.begin_delete_key(new_name("none")))


@operation
def get_deleted_key():
    name = new_name("delete")
    made = keys.create_ec_key(name, tags={"a": "b"})
    deleted(name)
    gone = keys.get_deleted_key(name)
    assert gone.id == made.id and gone.properties.tags == {"a": "b"} and gone.recovery_id and gone.scheduled_purge_date
    refused(404, "KeyNotFound", lambda: keys.get_deleted_key(new_name("none")))


@operation
def list_deleted_keys():
    made = {new_name("delete") for _ in range(26)}
    for name in made:
        keys.create_oct_key(name, size=128)
        keys.begin_delete_key(name)
    listed = [key for key in keys.list_deleted_keys() if key.name in made]
    assert {key.name for key in listed} == made and len(listed) == 26
    assert all(key.recovery_id and key.deleted_date and key.scheduled_purge_date for key in listed)


@operation
def begin_recover_deleted_key():
    name = new_name("recover")
    made = keys.create_ec_key(name)
    deleted(name)
    poller = keys.begin_recover_deleted_key(name)
    poller.wait()
    assert poller.result().id == made.id and keys.get_key(name).key.x == made.key.x
    refused(404, "KeyNotFound", lambda: keys.get_deleted_key(name))
    refused(404, "KeyNotFound", lambda: keys.begin_recover_deleted_key(new_name("none")))


@operation
def purge_deleted_key():
    name = new_name("purge")
    keys.create_ec_key(name)
    deleted(name)
    refused(409, "Conflict", lambda: keys.create_ec_key(name))
    assert keys.purge_deleted_key(name) is None
    refused(404, "KeyNotFound", lambda: keys.get_deleted_key(name))
    refused(404, "KeyNotFound", lambda: keys.purge_deleted_key(name))
    assert keys.create_ec_key(name).name == name


@operation
def backup_and_restore():
    name = new_name("backup")
    versions = {keys.create_ec_key(name, tags={"kept": "yes"}).properties.version for _ in range(3)}
    latest = keys.get_key(name)
    backup = keys.backup_key(name)
    assert len(backup) > 100
    refused(409, "Conflict", lambda: keys.restore_key_backup(backup))
    deleted(name)
    refused(409, "Conflict", lambda: keys.restore_key_backup(backup))
    keys.purge_deleted_key(name)
    restored = keys.restore_key_backup(backup)
    assert restored.id == latest.id and restored.key.x == latest.key.x and restored.properties.tags == {"kept": "yes"}
    assert {properties.version for properties in keys.list_properties_of_key_versions(name)} == versions
    broken = backup[:-1] + bytes([backup[-1] ^ 1])
    deleted(name)
    keys.purge_deleted_key(name)
    refused(400, "BadParameter", lambda: keys.restore_key_backup(broken))
    refused(404, "KeyNotFound", lambda: keys.backup_key(new_name("none")))


@operation
def rotate_key():
    name = new_name("rotate")
    first = keys.create_rsa_key(name, size=2048, key_operations=["sign", "verify"], tags={"of": "rotation"})
    second = keys.rotate_key(name)
    assert second.name == name and second.properties.version != first.properties.version and second.key.n != first.key.n
    assert set(second.key_operations) == {"sign", "verify"} and second.properties.tags == {"of": "rotation"}
    assert len(second.key.n) == 256 and keys.get_key(name).id == second.id
    assert keys.get_key(name, first.properties.version).key.n == first.key.n
    refused(404, "KeyNotFound", lambda: keys.rotate_key(new_name("none")))


@operation
def rotation_policy():
    name = new_name("policy")
    keys.create_ec_key(name)
    before = keys.get_key_rotation_policy(name)
    assert before.expires_in is None and not [a for a in before.lifetime_actions if a.action == "Rotate"], before.__dict__
    rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P90D")
    updated = keys.update_key_rotation_policy(name, KeyRotationPolicy(lifetime_actions=[rotate], expires_in="P2Y"))
    got = keys.get_key_rotation_policy(name)
    for policy in (updated, got):
        assert policy.expires_in == "P2Y" and len(policy.lifetime_actions) == 1, policy.__dict__
        assert policy.lifetime_actions[0].action == KeyRotationPolicyAction.rotate
        assert policy.lifetime_actions[0].time_after_create == "P90D" and policy.lifetime_actions[0].time_before_expiry is None
    before_expiry = KeyRotationLifetimeAction("Rotate", time_before_expiry="P30D")
    updated = keys.update_key_rotation_policy(name, KeyRotationPolicy(), lifetime_actions=[before_expiry], expires_in="P1Y")
    assert updated.lifetime_actions[0].time_before_expiry == "P30D" and updated.expires_in == "P1Y"
    too_soon = KeyRotationLifetimeAction("Rotate", time_after_create="PT1H")
    refused(400, "BadParameter", lambda: keys.update_key_rotation_policy(name, KeyRotationPolicy(lifetime_actions=[too_soon])))


@operation
def get_random_bytes():
    for count in (1, 32, 128):
        assert len(keys.get_random_bytes(count)) == count
    assert keys.get_random_bytes(32) != keys.get_random_bytes(32)
    refused(400, "BadParameter", lambda: keys.get_random_bytes(1 << 20))


@operation
def release_key_is_not_there_yet():
    name = new_name("release")
    keys.create_rsa_key(name, size=2048)
    refused(501, "NotImplemented", lambda: keys.release_key(name, "attestation"))


@operation
def get_key_attestation_needs_a_nonce_that_the_client_does_not_send():
    name = new_name("attest")
    keys.create_rsa_key(name, size=2048)
    refused(400, "BadParameter", lambda: keys.get_key_attestation(name))


@operation
def release_policy_is_not_there_yet():
    policy = KeyReleasePolicy(b'{"version":"1.0.0","anyOf":[{"authority":"https://a.test","allOf":[{"claim":"a","equals":"b"}]}]}')
    refused(400, "NotSupported", lambda: keys.create_rsa_key(new_name("release"), size=2048, exportable=True, release_policy=policy))


if __name__ == "__main__":
    main()
