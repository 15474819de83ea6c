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
    boolean = next(setting for setting in settings.list_settings() if setting.setting_type == KeyVaultSettingType.BOOLEAN)
    before = boolean.getboolean()
    for value in (not before, before):
        updated = settings.update_setting(KeyVaultSetting(boolean.name, value, KeyVaultSettingType.BOOLEAN))
        assert updated.getboolean() is value and settings.get_setting(boolean.name).getboolean() is value
    refused(400, "BadParameter", lambda: settings.update_setting(KeyVaultSetting(boolean.name, "perhaps")))
    stranger = client(KeyVaultSettingsClient, new_principal()[1])
    refused(403, "Forbidden", lambda: stranger.update_setting(boolean), "Hsm/settings/write/action")


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
