"""The official KeyVaultSettingsClient, and the KeyVaultBackupClient, whose operations are not there yet."""

from azure.keyvault.administration import KeyVaultBackupClient, KeyVaultSetting, KeyVaultSettingsClient, KeyVaultSettingType
from support import client, main, new_principal, operation, refused

settings = client(KeyVaultSettingsClient)
backups = client(KeyVaultBackupClient)
CONTAINER = "https://account.blob.core.windows.net/backup"


@operation
def list_settings():
    listed = list(settings.list_settings())
    assert listed and all(setting.name and setting.value is not None for setting in listed)


@operation
def get_setting():
    for setting in settings.list_settings():
        got = settings.get_setting(setting.name)
        assert (got.name, got.value, got.setting_type) == (setting.name, setting.value, setting.setting_type)
    refused(404, "SettingNotFound", lambda: settings.get_setting("NoSuchSetting"))


@operation
def update_setting():
    boolean = settings.get_setting("DangerRsa15Decrypt")
    assert boolean.getboolean() is False
    for value in (True, False):
        updated = settings.update_setting(KeyVaultSetting(boolean.name, value, KeyVaultSettingType.BOOLEAN))
        assert updated.getboolean() is value and settings.get_setting(boolean.name).getboolean() is value
    days = settings.get_setting("SoftDeleteRetentionInDays")
    assert settings.update_setting(KeyVaultSetting(days.name, days.value)).value == days.value
    refused(400, "BadParameter", lambda: settings.update_setting(KeyVaultSetting(boolean.name, "perhaps")))
    stranger = client(KeyVaultSettingsClient, new_principal()[1])
    refused(403, "AccessDenied", lambda: stranger.update_setting(boolean), "Hsm/settings/write/action")


@operation
def setting_of_managed_hsm():
    """Managed HSM has this one, for keys that its resource manager makes. There is none here, so it is off and stays off."""
    arm = settings.get_setting("AllowKeyManagementOperationsThroughARM")
    assert arm.getboolean() is False
    assert settings.update_setting(KeyVaultSetting(arm.name, False)).getboolean() is False
    refused(400, "NotSupported", lambda: settings.update_setting(KeyVaultSetting(arm.name, True)))


@operation
def backup_is_not_there_yet():
    refused(501, "NotImplemented", lambda: backups.begin_backup(CONTAINER, sas_token="token"))
    refused(501, "NotImplemented", lambda: backups.begin_pre_backup(CONTAINER, sas_token="token"))


@operation
def restore_is_not_there_yet():
    folder = f"{CONTAINER}/mhsm-2026"
    refused(501, "NotImplemented", lambda: backups.begin_restore(folder, sas_token="token"))
    refused(501, "NotImplemented", lambda: backups.begin_restore(folder, sas_token="token", key_name="one"))
    refused(501, "NotImplemented", lambda: backups.begin_pre_restore(folder, sas_token="token"))


if __name__ == "__main__":
    main()
