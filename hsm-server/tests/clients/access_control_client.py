"""Every operation of the official KeyVaultAccessControlClient."""

import uuid

from azure.keyvault.administration import ApiVersion, KeyVaultAccessControlClient, KeyVaultDataAction, KeyVaultPermission, KeyVaultRoleScope
from support import client, key_client, main, new_name, new_principal, operation, refused

roles = client(KeyVaultAccessControlClient)

BUILT_IN = {
    "a290e904-7015-4bba-90c8-60543313cdb4": "Managed HSM Administrator",
    "515eb02d-2335-4d2d-92f2-b1cbdf9c3778": "Managed HSM Crypto Officer",
    "21dbd100-6940-42c2-9190-5d6cb909625b": "Managed HSM Crypto User",
    "4bd23610-cdcf-4971-bdee-bdc562cc28e4": "Managed HSM Policy Administrator",
    "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3": "Managed HSM Crypto Auditor",
    "33413926-3206-4cdd-b39a-83574fe37a17": "Managed HSM Crypto Service Encryption User",
    "21dbd100-6940-42c2-9190-5d6cb909625c": "Managed HSM Crypto Service Release User",
    "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8": "Managed HSM Backup",
    "6efe6056-5259-49d2-8b3d-d3d73544b20b": "Managed HSM Restore",
}
DEFINITION_ID = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
CRYPTO_USER = DEFINITION_ID + "21dbd100-6940-42c2-9190-5d6cb909625b"
CRYPTO_AUDITOR = DEFINITION_ID + "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3"


def custom(*actions, **more):
    return roles.set_role_definition(
        KeyVaultRoleScope.GLOBAL, role_name=new_name("role"), permissions=[KeyVaultPermission(data_actions=list(actions))], **more)


@operation
def list_role_definitions():
    listed = {definition.name: definition for definition in roles.list_role_definitions(KeyVaultRoleScope.GLOBAL)}
    for name, role_name in BUILT_IN.items():
        definition = listed[name]
        assert definition.role_name == role_name, definition.role_name
        assert definition.id.endswith(f"/roleDefinitions/{name}") and definition.type == "Microsoft.Authorization/roleDefinitions"
        assert definition.role_type == "AKVBuiltInRole", definition.role_type
        assert "/" in definition.assignable_scopes and definition.description is not None
    user = listed["21dbd100-6940-42c2-9190-5d6cb909625b"].permissions[0].data_actions
    assert KeyVaultDataAction.SIGN_HSM_KEY in user and KeyVaultDataAction.RECOVER_DELETED_HSM_KEY not in user
    assert len(list(roles.list_role_definitions(KeyVaultRoleScope.KEYS))) >= len(BUILT_IN)


@operation
def get_role_definition():
    for name, role_name in BUILT_IN.items():
        assert roles.get_role_definition(KeyVaultRoleScope.GLOBAL, name).role_name == role_name
    refused(404, "RoleDefinitionNotFound", lambda: roles.get_role_definition("/", uuid.uuid4()))


@operation
def set_role_definition():
    made = custom(KeyVaultDataAction.READ_HSM_KEY, description="reads")
    assert made.role_type == "CustomRole" and made.description == "reads", (made.role_type, made.description)
    assert made.permissions[0].data_actions == [KeyVaultDataAction.READ_HSM_KEY]
    updated = roles.set_role_definition(
        "/", name=made.name, role_name=made.role_name, permissions=[KeyVaultPermission(data_actions=[KeyVaultDataAction.SIGN_HSM_KEY])])
    assert updated.id == made.id and roles.get_role_definition("/", made.name).permissions[0].data_actions == [KeyVaultDataAction.SIGN_HSM_KEY]
    assert made.name in [definition.name for definition in roles.list_role_definitions("/")]


@operation
def set_role_definition_refuses():
    refused(400, "BadParameter", lambda: custom("Microsoft.KeyVault/managedHsm/keys/fly/action"))
    administrator_role = "a290e904-7015-4bba-90c8-60543313cdb4"
    for change in (
        lambda: roles.set_role_definition("/", name=administrator_role, role_name="mine", permissions=[]),
        lambda: roles.delete_role_definition("/", administrator_role),
    ):
        try:
            change()
        except Exception as error:
            assert error.status_code in (400, 403, 409), error
        else:
            raise AssertionError("a built-in role was changed")


@operation
def delete_role_definition():
    made = custom(KeyVaultDataAction.READ_HSM_KEY)
    assert roles.delete_role_definition("/", made.name) is None
    refused(404, "RoleDefinitionNotFound", lambda: roles.get_role_definition("/", made.name))
    roles.delete_role_definition("/", made.name)  # The client takes a 404 for done.


@operation
def delete_role_definition_that_is_assigned():
    made = custom(KeyVaultDataAction.READ_HSM_KEY)
    assignment = roles.create_role_assignment("/", made.id, str(uuid.uuid4()))
    refused(409, "Conflict", lambda: roles.delete_role_definition("/", made.name))
    roles.delete_role_assignment("/", assignment.name)
    roles.delete_role_definition("/", made.name)


@operation
def create_role_assignment():
    principal = str(uuid.uuid4())
    for scope in (KeyVaultRoleScope.GLOBAL, KeyVaultRoleScope.KEYS, f"/keys/{new_name()}"):
        name = str(uuid.uuid4())
        made = roles.create_role_assignment(scope, CRYPTO_USER, principal, name=name)
        assert made.name == name and made.role_assignment_id.endswith(name) and made.type == "Microsoft.Authorization/roleAssignments"
        assert made.properties.principal_id == principal and made.properties.role_definition_id == CRYPTO_USER
        assert made.properties.scope == scope, made.properties.scope
        got = roles.get_role_assignment(scope, name)
        assert got.role_assignment_id == made.role_assignment_id and got.properties.scope == scope


@operation
def create_role_assignment_refuses():
    refused(404, "RoleDefinitionNotFound", lambda: roles.create_role_assignment("/", DEFINITION_ID + str(uuid.uuid4()), str(uuid.uuid4())))
    for scope in ("/secrets", "/keys/a/b"):
        try:
            roles.create_role_assignment(scope, CRYPTO_USER, str(uuid.uuid4()))
        except Exception as error:
            assert error.status_code in (400, 404), error
        else:
            raise AssertionError(f"assigned at {scope}")


@operation
def get_role_assignment():
    made = roles.create_role_assignment("/keys", CRYPTO_AUDITOR, str(uuid.uuid4()))
    assert roles.get_role_assignment("/keys", made.name).properties.role_definition_id == CRYPTO_AUDITOR
    refused(404, "RoleAssignmentNotFound", lambda: roles.get_role_assignment("/keys", uuid.uuid4()))


@operation
def list_role_assignments():
    principal = str(uuid.uuid4())
    key = f"/keys/{new_name()}"
    made = {scope: roles.create_role_assignment(scope, CRYPTO_USER, principal).name for scope in ("/", "/keys", key)}
    for scope in made:
        listed = {assignment.name for assignment in roles.list_role_assignments(scope)}
        assert made[scope] in listed, (scope, listed)
    everything = {assignment.name for assignment in roles.list_role_assignments("/")}
    assert made["/"] in everything


@operation
def delete_role_assignment():
    made = roles.create_role_assignment("/", CRYPTO_USER, str(uuid.uuid4()))
    assert roles.delete_role_assignment("/", made.name) is None
    refused(404, "RoleAssignmentNotFound", lambda: roles.get_role_assignment("/", made.name))
    roles.delete_role_assignment("/", made.name)


@operation
def an_assignment_takes_effect_and_ends():
    principal, credential = new_principal()
    name, other = new_name(), new_name()
    for key in (name, other):
        key_client().create_ec_key(key)
    user = key_client(credential)
    refused(403, "AccessDenied", lambda: user.get_key(name), "Microsoft.KeyVault/managedHsm/keys/read/action", f"/keys/{name}")
    assignment = roles.create_role_assignment(f"/keys/{name}", CRYPTO_AUDITOR, principal)
    assert user.get_key(name).name == name
    refused(403, "AccessDenied", lambda: user.get_key(other), "Microsoft.KeyVault/managedHsm/keys/read/action")
    refused(403, "AccessDenied", lambda: user.rotate_key(name), "Microsoft.KeyVault/managedHsm/keys/rotate/action")
    roles.delete_role_assignment(f"/keys/{name}", assignment.name)
    refused(403, "AccessDenied", lambda: user.get_key(name))


@operation
def every_data_action_can_be_granted():
    made = custom(*[action.value for action in KeyVaultDataAction])
    assert set(made.permissions[0].data_actions) == {action.value for action in KeyVaultDataAction}


@operation
def every_api_version():
    for version in ("7.4", "7.5", "7.6-preview.2", "7.6", "2025-07-01"):
        if version in [known.value for known in ApiVersion]:
            assert list(client(KeyVaultAccessControlClient, api_version=version).list_role_definitions("/"))


if __name__ == "__main__":
    main()
