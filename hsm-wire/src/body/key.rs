//! Keys: making, importing, changing, describing.

mod describe;
mod spec;

use hsm_core::key::KeyMaterial;
use hsm_core::lifecycle::Event;
use hsm_core::limits::KEY_MATERIAL_LEN_MAX;
use hsm_core::policy::RotationPolicy;
use hsm_core::{
    Algorithm, AttributesUpdate, Error, ErrorKind, IfTaken, KeyName, KeyRef, KeySpec,
    NewKeyParameters, Request, Response, Result, Timestamp, Usages, WrappedFormat,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(crate) use self::describe::{bundle, items, read_bundle, read_items};
use self::spec::{KeyKind, default_usages, hsm_kty, key_vault_curve, usages};
use super::{SHORT_LEN, crypto};
use crate::json::Json;
use crate::read::{self, TagsIn, Text, invalid, maybe_null, required};
use crate::{Body, Buffers};

/// Longest file of a key that was wrapped for import (BYOK).
const TRANSFER_LEN_MAX: usize = 16 << 10;

/// `attributes` of Key Vault, as clients send it.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct AttributesIn {
    enabled: Option<bool>,
    nbf: Option<u64>,
    exp: Option<u64>,
    exportable: Option<bool>,
}

/// A new key, made or imported.
#[derive(Default, Deserialize)]
#[serde(default)]
struct NewIn<'a> {
    #[serde(borrow)]
    kty: Option<Text<'a>>,
    key_size: Option<u32>,
    public_exponent: Option<u64>,
    #[serde(borrow)]
    crv: Option<Text<'a>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Text<'a>>>,
    attributes: Option<AttributesIn>,
    tags: Option<TagsIn>,
    release_policy: Option<IgnoredAny>,
    #[serde(borrow)]
    hsm: Option<NewHsmIn<'a>>,
    // Of imports.
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    // Of wrapped imports.
    #[serde(borrow)]
    wrapping: Option<Text<'a>>,
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    format: Option<Text<'a>>,
}

/// What our own client says beyond Key Vault.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NewHsmIn<'a> {
    #[serde(borrow, rename = "type")]
    key_type: Option<Text<'a>>,
    #[serde(borrow)]
    algorithm: Option<Text<'a>>,
    #[serde(borrow)]
    if_taken: Option<Text<'a>>,
    pre_activation: Option<bool>,
    not_before: Option<u64>,
    expires: Option<u64>,
    rotation: Option<RotationPolicy>,
    /// The numbers of the registers that must hold what they hold now.
    #[serde(borrow)]
    boot_state: Option<Text<'a>>,
    #[serde(borrow)]
    material: Option<&'a RawValue>,
}

/// The members of a JSON Web Key that say what it is for.
#[derive(Deserialize)]
struct JwkIn<'a> {
    #[serde(borrow)]
    kty: Option<Text<'a>>,
    #[serde(borrow)]
    crv: Option<Text<'a>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    key_hsm: Option<Text<'a>>,
}

impl NewIn<'_> {
    /// What the key shall be, of a known kind or as the body says it.
    fn parameters(
        &self,
        kind: KeyKind<'_>,
        key_ops: Option<&[Text<'_>]>,
    ) -> Result<NewKeyParameters> {
        if self.release_policy.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "`release_policy`: the release of keys to attested environments is not there yet",
            ));
        }
        if self
            .public_exponent
            .is_some_and(|exponent| exponent != 65_537)
        {
            return Err(invalid("`public_exponent` is 65537"));
        }
        let ops = key_ops.map(usages).transpose()?;
        let hsm = self.hsm.as_ref();
        let attributes = self.attributes.unwrap_or_default();
        let key_type = match hsm.and_then(|hsm| hsm.key_type.as_ref()) {
            Some(name) => name.as_str().parse()?,
            None => kind.key_type(ops)?,
        };
        let mut spec = KeySpec::new(key_type, ops.unwrap_or_else(|| default_usages(key_type)))?;
        if let Some(algorithm) = hsm.and_then(|hsm| hsm.algorithm.as_ref()) {
            spec = spec.only(algorithm.as_str().parse()?)?;
        }
        if attributes.exportable == Some(true) {
            spec = spec.exportable();
        }
        if let Some(registers) = hsm.and_then(|hsm| hsm.boot_state.as_ref()) {
            spec = spec.in_boot_state(registers.as_str().parse()?);
        }
        let mut new = NewKeyParameters::new(spec);
        let millis = |member: Option<u64>| member.map(Timestamp::from_unix_millis);
        let seconds = |member: Option<u64>| member.map(Timestamp::from_unix_seconds);
        new.not_before = millis(hsm.and_then(|hsm| hsm.not_before)).or(seconds(attributes.nbf));
        new.expires = millis(hsm.and_then(|hsm| hsm.expires)).or(seconds(attributes.exp));
        new.pre_activation = hsm
            .and_then(|hsm| hsm.pre_activation)
            .unwrap_or(attributes.enabled == Some(false));
        new.tags = self
            .tags
            .as_ref()
            .map(|tags| tags.0.clone())
            .unwrap_or_default();
        new.rotation = hsm.and_then(|hsm| hsm.rotation.clone());
        new.if_taken = match hsm.and_then(|hsm| hsm.if_taken.as_ref()).map(Text::as_str) {
            None | Some("addVersion") => IfTaken::AddVersion,
            Some("refuse") => IfTaken::Refuse,
            Some(_) => return Err(invalid("`hsm.ifTaken` is `refuse` or `addVersion`")),
        };
        Ok(new)
    }

    fn kind(&self) -> KeyKind<'_> {
        KeyKind {
            kty: self.kty.as_ref().map(Text::as_str),
            curve: self.crv.as_ref().map(Text::as_str),
            bits: self.key_size,
        }
    }
}

pub(crate) fn read_create(name: &KeyName, body: &[u8]) -> Result<Request<'static>> {
    let new: NewIn<'_> = read::object(body)?;
    Ok(Request::CreateKey {
        name: name.clone(),
        new: new.parameters(new.kind(), new.key_ops.as_deref())?,
    })
}

pub(crate) fn read_import<'b>(
    name: &KeyName,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let new: NewIn<'_> = read::object(body)?;
    // Our own client sends the very bytes.
    if let Some(material) = new.hsm.as_ref().and_then(|hsm| hsm.material) {
        let material = read::secret_text("hsm.material", material, 2 * KEY_MATERIAL_LEN_MAX)?;
        let text = std::str::from_utf8(material.expose()).unwrap_or("=");
        return Ok(Request::ImportKey {
            name: name.clone(),
            new: new.parameters(new.kind(), new.key_ops.as_deref())?,
            material: read::secret("hsm.material", text, KEY_MATERIAL_LEN_MAX)?,
        });
    }
    let key = required("key", new.key)?;
    let jwk: JwkIn<'_> = read::raw("key", key)?;
    let key_ops = jwk.key_ops.as_deref().or(new.key_ops.as_deref());
    let kind = KeyKind {
        kty: jwk.kty.as_ref().map(Text::as_str),
        curve: jwk.crv.as_ref().map(Text::as_str),
        bits: new.key_size,
    };
    if let Some(file) = &jwk.key_hsm {
        return read_transfer(name, &new, kind, key_ops, file.as_str(), buffers);
    }
    let material = KeyMaterial::from_jwk(key.get().as_bytes())?;
    let key_type = material.key_type();
    let material = hsm_core::SecretBytes::from(material);
    let new = match key_type {
        Some(key_type) => new.parameters(KeyKind::known(key_type), key_ops)?,
        None => {
            let bits = u32::try_from(material.len() * 8).ok();
            new.parameters(KeyKind { bits, ..kind }, key_ops)?
        }
    };
    Ok(Request::ImportKey {
        name: name.clone(),
        new,
        material,
    })
}

/// The file in which a key travels (BYOK).
#[derive(Deserialize)]
struct Transfer<'a> {
    #[serde(borrow)]
    header: Option<TransferHeader<'a>>,
    #[serde(borrow)]
    ciphertext: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct TransferHeader<'a> {
    #[serde(borrow)]
    kid: Option<Text<'a>>,
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow)]
    enc: Option<Text<'a>>,
}

fn read_transfer<'b>(
    name: &KeyName,
    new: &NewIn<'_>,
    kind: KeyKind<'_>,
    key_ops: Option<&[Text<'_>]>,
    file: &str,
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let file = read::octets("key.key_hsm", file, TRANSFER_LEN_MAX)?;
    let transfer: Transfer<'_> = read::object(&file)?;
    let header = required("header", transfer.header)?;
    if header.alg.as_ref().map(Text::as_str) != Some("dir") {
        return Err(invalid("`header.alg` of a transferred key is `dir`"));
    }
    let algorithm = crypto::algorithm(header.enc.as_ref())?;
    let kid = required("header.kid", header.kid.as_ref())?.as_str();
    let wrapping = key_of_kid(kid)?;
    let ciphertext = required("ciphertext", transfer.ciphertext.as_ref())?.as_str();
    read::binary(
        "ciphertext",
        ciphertext,
        TRANSFER_LEN_MAX,
        &mut buffers.value,
    )?;
    let bits = kind
        .bits
        .or_else(|| spec::transferred_bits(kind.kty, buffers.value.as_slice().len()));
    Ok(Request::ImportWrappedKey {
        name: name.clone(),
        new: new.parameters(KeyKind { bits, ..kind }, key_ops)?,
        wrapping,
        algorithm,
        wrapped: buffers.value.as_slice(),
        format: WrappedFormat::Bare,
    })
}

/// The key that a `kid` names: `https://host/keys/{name}[/{version}]`.
fn key_of_kid(kid: &str) -> Result<KeyRef> {
    let key = kid.split_once("/keys/").map_or(kid, |(_, key)| key);
    key.trim_end_matches('/').parse()
}

pub(crate) fn read_import_wrapped<'b>(
    name: &KeyName,
    body: &[u8],
    buffers: &'b mut Buffers,
) -> Result<Request<'b>> {
    let new: NewIn<'_> = read::object(body)?;
    let value = required("value", new.value.as_ref())?.as_str();
    read::binary("value", value, 2 * KEY_MATERIAL_LEN_MAX, &mut buffers.value)?;
    let format = match new.format.as_ref().map(Text::as_str) {
        None | Some("bound") => WrappedFormat::Bound,
        Some("bare") => WrappedFormat::Bare,
        Some(_) => return Err(invalid("`format` is `bound` or `bare`")),
    };
    Ok(Request::ImportWrappedKey {
        name: name.clone(),
        new: new.parameters(new.kind(), new.key_ops.as_deref())?,
        wrapping: key_of_kid(required("wrapping", new.wrapping.as_ref())?.as_str())?,
        algorithm: crypto::algorithm(new.alg.as_ref())?,
        wrapped: buffers.value.as_slice(),
        format,
    })
}

#[derive(Deserialize)]
struct ExportIn<'a> {
    #[serde(borrow)]
    wrapping: Option<Text<'a>>,
    #[serde(borrow)]
    alg: Option<Text<'a>>,
}

pub(crate) fn read_export(key: &KeyRef, body: &[u8]) -> Result<Request<'static>> {
    let export: ExportIn<'_> = read::object(body)?;
    Ok(Request::ExportKey {
        key: key.clone(),
        wrapping: key_of_kid(required("wrapping", export.wrapping.as_ref())?.as_str())?,
        algorithm: crypto::algorithm(export.alg.as_ref())?,
    })
}

pub(crate) fn export(wrapping: &KeyRef, algorithm: Algorithm) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        json.name("wrapping").shown(wrapping);
        json.name("alg").text(algorithm.name());
    })
}

/// Writes a new key, and with `more` what only one way of making it has.
pub(crate) fn new_key(
    new: &NewKeyParameters,
    material: Option<&[u8]>,
    more: impl FnOnce(&mut Json),
) -> Body {
    let spec = &new.spec;
    let info = spec.key_type.info();
    let room = SHORT_LEN + 256 + material.map_or(0, |material| material.len() * 2);
    Json::object_of(room, |json| {
        json.name("kty").text(hsm_kty(info.family));
        if let Some(curve) = info.curve {
            json.name("crv").text(key_vault_curve(curve));
        } else {
            json.name("key_size").number(info.bits.into());
        }
        json.name("key_ops")
            .array(spec.usages.iter(), |json, usage| json.text(usage.name()));
        json.name("attributes").object(|json| {
            json.name("enabled").bool(!new.pre_activation);
            if let Some(time) = new.not_before {
                json.name("nbf").seconds(time);
            }
            if let Some(time) = new.expires {
                json.name("exp").seconds(time);
            }
            if spec.exportable {
                json.name("exportable").bool(true);
            }
        });
        if !new.tags.as_map().is_empty() {
            json.name("tags").serialized(&new.tags);
        }
        json.name("hsm").object(|json| {
            json.name("type").text(spec.key_type.name());
            if let Some(algorithm) = spec.algorithm {
                json.name("algorithm").text(algorithm.name());
            }
            if let Some(registers) = spec.boot_state {
                json.name("bootState").shown(registers);
            }
            json.name("ifTaken").text(match new.if_taken {
                IfTaken::Refuse => "refuse",
                IfTaken::AddVersion => "addVersion",
            });
            json.name("preActivation").bool(new.pre_activation);
            if let Some(time) = new.not_before {
                json.name("notBefore").millis(time);
            }
            if let Some(time) = new.expires {
                json.name("expires").millis(time);
            }
            if let Some(policy) = &new.rotation {
                json.name("rotation").serialized(policy);
            }
            if let Some(material) = material {
                json.name("material").binary(material);
            }
        });
        more(json);
    })
}

pub(crate) fn import_wrapped(
    new: &NewKeyParameters,
    wrapping: &KeyRef,
    algorithm: Algorithm,
    wrapped: &[u8],
    format: WrappedFormat,
) -> Result<Body> {
    let format = match format {
        WrappedFormat::Bound => "bound",
        WrappedFormat::Bare => "bare",
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this format cannot be sent",
            ));
        }
    };
    Ok(new_key(new, None, |json| {
        json.name("wrapping").shown(wrapping);
        json.name("alg").text(algorithm.name());
        json.name("format").text(format);
        json.name("value").binary(wrapped);
    }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateIn<'a> {
    #[serde(borrow)]
    key_ops: Option<Vec<Text<'a>>>,
    attributes: Option<AttributesIn>,
    tags: Option<TagsIn>,
    release_policy: Option<IgnoredAny>,
    #[serde(borrow)]
    hsm: Option<UpdateHsmIn<'a>>,
}

/// What our own client says beyond Key Vault, where `null` takes a time away.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UpdateHsmIn<'a> {
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(deserialize_with = "maybe_null")]
    not_before: Option<Option<u64>>,
    #[serde(deserialize_with = "maybe_null")]
    expires: Option<Option<u64>>,
}

/// The names of lifecycle events.
const EVENTS: [(Event, &str); 6] = [
    (Event::Activate, "activate"),
    (Event::Suspend, "suspend"),
    (Event::Resume, "resume"),
    (Event::Deactivate, "deactivate"),
    (Event::Compromise, "compromise"),
    (Event::Destroy, "destroy"),
];

pub(crate) fn read_update(key: &KeyRef, body: &[u8]) -> Result<Request<'static>> {
    let changes: UpdateIn<'_> = read::object(body)?;
    if changes.release_policy.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "`release_policy`: the release of keys to attested environments is not there yet",
        ));
    }
    let attributes = changes.attributes.unwrap_or_default();
    if attributes.exportable.is_some() {
        return Err(invalid(
            "`attributes.exportable` is fixed for the life of a key",
        ));
    }
    let hsm = changes.hsm.unwrap_or_default();
    let mut update = AttributesUpdate::new();
    if let Some(event) = &hsm.event {
        let event = EVENTS.iter().find(|(_, name)| *name == event.as_str());
        let (event, _) = event.ok_or_else(|| {
            let names = EVENTS.map(|(_, name)| name).join(", ");
            invalid(format!("`hsm.event` is one of {names}"))
        })?;
        update = update.event(*event);
    }
    if let Some(enabled) = attributes.enabled {
        update = update.enabled(enabled);
    }
    if let Some(ops) = &changes.key_ops {
        update = update.usages(usages(ops)?);
    }
    let seconds = |time: Option<u64>| time.map(|time| Some(Timestamp::from_unix_seconds(time)));
    let millis = |time: Option<Option<u64>>| time.map(|time| time.map(Timestamp::from_unix_millis));
    if let Some(time) = millis(hsm.not_before).or(seconds(attributes.nbf)) {
        update = update.not_before(time);
    }
    if let Some(time) = millis(hsm.expires).or(seconds(attributes.exp)) {
        update = update.expires(time);
    }
    if let Some(tags) = changes.tags {
        update = update.tags(tags.0);
    }
    Ok(Request::UpdateKey {
        key: key.clone(),
        update,
    })
}

pub(crate) fn update(update: &AttributesUpdate) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        if let Some(usages) = update.new_usages() {
            json.name("key_ops")
                .array(usages.iter(), |json, usage| json.text(usage.name()));
        }
        json.name("attributes").object(|json| {
            if let Some(enabled) = update.new_enabled() {
                json.name("enabled").bool(enabled);
            }
            if let Some(Some(time)) = update.new_not_before() {
                json.name("nbf").seconds(time);
            }
            if let Some(Some(time)) = update.new_expires() {
                json.name("exp").seconds(time);
            }
        });
        if let Some(tags) = update.new_tags() {
            json.name("tags").serialized(tags);
        }
        json.name("hsm").object(|json| {
            if let Some(event) = update.lifecycle_event() {
                let name = EVENTS.iter().find(|(known, _)| *known == event);
                json.name("event").text(name.map_or("", |(_, name)| name));
            }
            let times = [
                ("notBefore", update.new_not_before()),
                ("expires", update.new_expires()),
            ];
            for (name, time) in times {
                match time {
                    Some(Some(time)) => json.name(name).millis(time),
                    Some(None) => json.name(name).null(),
                    None => {}
                }
            }
        });
    })
}

#[derive(Deserialize)]
struct RestoreIn<'a> {
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

pub(crate) fn read_restore<'b>(body: &[u8], buffers: &'b mut Buffers) -> Result<Request<'b>> {
    let restore: RestoreIn<'_> = read::object(body)?;
    let value = required("value", restore.value.as_ref())?.as_str();
    read::binary("value", value, crypto::BACKUP_LEN_MAX, &mut buffers.value)?;
    Ok(Request::RestoreKey {
        backup: buffers.value.as_slice(),
    })
}

/// The member that says that there is no policy, which is not the same as one that does nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PolicyHsm {
    hsm: Option<PolicyThere>,
}

#[derive(Deserialize)]
struct PolicyThere {
    policy: bool,
}

fn read_policy(body: &[u8]) -> Result<Option<RotationPolicy>> {
    let there: PolicyHsm = read::object(body)?;
    if there.hsm.is_some_and(|hsm| !hsm.policy) {
        return Ok(None);
    }
    read::object(body).map(Some)
}

pub(crate) fn read_rotation_policy(name: &KeyName, body: &[u8]) -> Result<Request<'static>> {
    Ok(Request::SetRotationPolicy {
        name: name.clone(),
        policy: read_policy(body)?,
    })
}

pub(crate) fn read_rotation_policy_reply(body: &[u8]) -> Result<Response> {
    read_policy(body).map(Response::RotationPolicy)
}

/// A policy with what goes around it. Both directions look the same.
#[derive(serde::Serialize)]
struct PolicyOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(flatten)]
    policy: &'a RotationPolicy,
}

pub(crate) fn rotation_policy(name: &KeyName, policy: Option<&RotationPolicy>, base: &str) -> Body {
    write_policy(policy, Some(format!("{base}/keys/{name}/rotationpolicy")))
}

pub(crate) fn new_rotation_policy(policy: Option<&RotationPolicy>) -> Body {
    write_policy(policy, None)
}

fn write_policy(policy: Option<&RotationPolicy>, id: Option<String>) -> Body {
    let Some(policy) = policy else {
        return Json::object_of(SHORT_LEN, |json| {
            if let Some(id) = &id {
                json.name("id").text(id);
            }
            json.name("lifetimeActions").array([(); 0], |_, ()| {});
            json.name("attributes").object(|_| {});
            json.name("hsm")
                .object(|json| json.name("policy").bool(false));
        });
    };
    let mut json = Json::with_capacity(SHORT_LEN);
    json.serialized(&PolicyOut { id, policy });
    json.finish()
}

/// Usages as Key Vault's `key_ops`.
pub(crate) fn key_ops(json: &mut Json, usages: Usages) {
    json.name("key_ops")
        .array(usages.iter(), |json, usage| json.text(usage.name()));
}
