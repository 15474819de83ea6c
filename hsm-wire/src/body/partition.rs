//! The partition: its settings as Managed HSM shows them, and as they are.

use hsm_core::audit::StreamId;
use hsm_core::key::Jwk;
use hsm_core::{
    Error, ErrorKind, PartitionInfo, PublicKey, Request, Response, Result, Settings, SettingsUpdate,
};
use serde::Deserialize;

use super::SHORT_LEN;
use crate::Body;
use crate::json::Json;
use crate::read::{self, Text, invalid, required};

/// The one setting of Managed HSM. There is no resource manager here, so it is off and stays so.
const ALLOW_ARM: &str = "AllowKeyManagementOperationsThroughARM";
const RETENTION_DAYS: &str = "SoftDeleteRetentionInDays";
const PURGE_PROTECTION: &str = "PurgeProtection";
const RSA1_5_DECRYPT: &str = "DangerRsa15Decrypt";

/// Every setting: its name, its kind, its value.
fn all(settings: &Settings) -> [(&'static str, &'static str, String); 4] {
    [
        (ALLOW_ARM, "boolean", false.to_string()),
        (
            RETENTION_DAYS,
            "integer",
            settings.retention_days.to_string(),
        ),
        (
            PURGE_PROTECTION,
            "boolean",
            settings.purge_protection.to_string(),
        ),
        (
            RSA1_5_DECRYPT,
            "boolean",
            settings.danger_rsa1_5_decrypt.to_string(),
        ),
    ]
}

fn write_setting(json: &mut Json, (name, kind, value): &(&str, &str, String)) {
    json.object(|json| {
        json.name("name").text(name);
        json.name("value").text(value);
        json.name("type").text(kind);
    });
}

pub(crate) fn settings(info: &PartitionInfo) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        json.name("settings")
            .array(&all(&info.settings), write_setting);
    })
}

pub(crate) fn setting(info: &PartitionInfo, name: &str) -> Option<Body> {
    let settings = all(&info.settings);
    let setting = settings.iter().find(|(known, ..)| *known == name)?;
    let mut json = Json::with_capacity(SHORT_LEN);
    write_setting(&mut json, setting);
    Some(json.finish())
}

#[derive(Deserialize)]
struct SettingIn<'a> {
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

pub(crate) fn read_setting(name: &str, body: &[u8]) -> Result<Request<'static>> {
    let setting: SettingIn<'_> = read::object(body)?;
    let value = required("value", setting.value.as_ref())?.as_str();
    let flag = || match value {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(invalid("`value` is `true` or `false`, as text")),
    };
    let mut update = SettingsUpdate::default();
    match name {
        ALLOW_ARM if flag()? == Some(false) => {}
        ALLOW_ARM => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "there is no resource manager here that could be allowed to",
            ));
        }
        RETENTION_DAYS => {
            let days = value
                .parse()
                .map_err(|_| invalid("`value` is a number of days, as text"))?;
            update.retention_days = Some(days);
        }
        PURGE_PROTECTION => update.purge_protection = flag()?,
        RSA1_5_DECRYPT => update.danger_rsa1_5_decrypt = flag()?,
        _ => return Err(Error::new(ErrorKind::NotFound, "there is no such setting")),
    }
    Ok(Request::UpdateSettings { update })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateIn {
    retention_days: Option<u16>,
    purge_protection: Option<bool>,
    danger_rsa15_decrypt: Option<bool>,
}

pub(crate) fn read_update(body: &[u8]) -> Result<Request<'static>> {
    let update: UpdateIn = read::object(body)?;
    Ok(Request::UpdateSettings {
        update: SettingsUpdate {
            retention_days: update.retention_days,
            purge_protection: update.purge_protection,
            danger_rsa1_5_decrypt: update.danger_rsa15_decrypt,
        },
    })
}

pub(crate) fn update(update: &SettingsUpdate) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        if let Some(days) = update.retention_days {
            json.name("retentionDays").number(days.into());
        }
        if let Some(on) = update.purge_protection {
            json.name("purgeProtection").bool(on);
        }
        if let Some(on) = update.danger_rsa1_5_decrypt {
            json.name("dangerRsa15Decrypt").bool(on);
        }
    })
}

#[derive(Deserialize)]
struct ZeroizeIn<'a> {
    #[serde(borrow)]
    confirm: Option<Text<'a>>,
}

pub(crate) fn read_zeroize(body: &[u8]) -> Result<Request<'static>> {
    let zeroize: ZeroizeIn<'_> = read::object(body)?;
    let confirm = required("confirm", zeroize.confirm.as_ref())?;
    Ok(Request::Zeroize {
        confirm: confirm.as_str().parse()?,
    })
}

pub(crate) fn zeroize(confirm: StreamId) -> Body {
    Json::object_of(SHORT_LEN, |json| json.name("confirm").shown(confirm))
}

pub(crate) fn partition(info: &PartitionInfo) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        json.name("id").shown(info.id);
        json.name("device").text(&info.device);
        if let Ok(jwk) = info.audit_key.to_jwk() {
            json.name("auditKey").serialized(&jwk);
        }
        json.name("settings").object(|json| {
            json.name("retentionDays")
                .number(info.settings.retention_days.into());
            json.name("purgeProtection")
                .bool(info.settings.purge_protection);
            json.name("dangerRsa15Decrypt")
                .bool(info.settings.danger_rsa1_5_decrypt);
        });
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartitionIn<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    device: Text<'a>,
    audit_key: Jwk,
    settings: UpdateIn,
}

pub(crate) fn read_partition(body: &[u8]) -> Result<Response> {
    let info: PartitionIn<'_> = read::object(body)?;
    let given = &info.settings;
    let mut settings = Settings::default();
    settings.retention_days = required("retentionDays", given.retention_days)?;
    settings.purge_protection = required("purgeProtection", given.purge_protection)?;
    settings.danger_rsa1_5_decrypt = required("dangerRsa15Decrypt", given.danger_rsa15_decrypt)?;
    Ok(Response::Partition(Box::new(PartitionInfo::new(
        info.id.as_str().parse()?,
        PublicKey::from_jwk(&info.audit_key)?,
        info.device.as_str().to_owned(),
        settings,
    ))))
}
