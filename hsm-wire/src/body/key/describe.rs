//! Keys as they are described: bundles and the items of listings.

use hsm_core::key::Jwk;
use hsm_core::lifecycle::State;
use hsm_core::limits::RETENTION_DAYS_MAX;
use hsm_core::{
    Attributes, Deletion, Error, ErrorKind, KeyFamily, KeyInfo, KeyName, KeySpec, KeyType, Origin,
    Page, PageRequest, PublicKey, Recovery, Response, Result, Timestamp, Usages, VersionId,
};
use serde::Deserialize;

use super::key_of_kid;
use super::spec::{KeyKind, default_usages, hsm_kty, key_vault_curve};
use crate::body::{next_link, read_next_link};
use crate::json::Json;
use crate::read::{self, TagsIn, Text, invalid, required};
use crate::{Body, EngineRoute};

/// Room for one key.
const BUNDLE_LEN: usize = 2048;

/// The id that stands for a version which a service does not tell: in Key Vault's listings of keys.
const UNTOLD: VersionId = VersionId::from_bytes([0; 16]);

/// A key bundle: the answer to whatever makes, reads or changes one key.
pub(crate) fn bundle(route: &EngineRoute, info: &KeyInfo, base: &str) -> Body {
    let with_deletion = matches!(
        route,
        EngineRoute::DeleteKey { .. } | EngineRoute::GetDeletedKey { .. }
    );
    Json::object_of(BUNDLE_LEN, |json| {
        json.name("key").object(|json| {
            let version = info.version.to_string();
            json.name("kid")
                .pieces(&[base, "/keys/", info.name.as_str(), "/", &version]);
            key_members(json, info);
        });
        rest(json, info, base, with_deletion, false);
    })
}

/// A page of a listing. `path` is where the next one is.
pub(crate) fn items(keys: &Page<KeyInfo>, asked: &PageRequest, path: &[&str], base: &str) -> Body {
    let (deleted, versions) = (path[0] == "/deletedkeys", path.len() > 1);
    Json::object_of(BUNDLE_LEN * (1 + keys.items.len()), |json| {
        json.name("value").array(&keys.items, |json, info| {
            json.object(|json| {
                let version = info.version.to_string();
                let name = info.name.as_str();
                let pieces = [base, "/keys/", name, "/", &version];
                let pieces = if versions { &pieces[..] } else { &pieces[..3] };
                json.name("kid").pieces(pieces);
                rest(json, info, base, deleted, true);
            });
        });
        next_link(json, keys, asked, path, base);
    })
}

/// The members of the key itself.
fn key_members(json: &mut Json, info: &KeyInfo) {
    let spec = &info.attributes.spec;
    json.name("kty").text(hsm_kty(spec.key_type.info().family));
    super::key_ops(json, spec.usages);
    let Some(jwk) = info.public.as_ref().and_then(|public| public.to_jwk().ok()) else {
        return;
    };
    if let Some(curve) = &jwk.crv {
        json.name("crv").text(key_vault_curve(curve));
    }
    let members = [
        ("n", &jwk.n),
        ("e", &jwk.e),
        ("x", &jwk.x),
        ("y", &jwk.y),
        ("alg", &jwk.alg),
        ("pub", &jwk.public),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            json.name(name).text(value);
        }
    }
}

/// Everything but the key.
fn rest(json: &mut Json, info: &KeyInfo, base: &str, deleted: bool, item: bool) {
    let attributes = &info.attributes;
    json.name("attributes").object(|json| {
        json.name("enabled").bool(attributes.state == State::Active);
        if let Some(time) = attributes.not_before {
            json.name("nbf").seconds(time);
        }
        if let Some(time) = attributes.expires {
            json.name("exp").seconds(time);
        }
        json.name("created").seconds(attributes.created);
        json.name("updated").seconds(attributes.updated);
        if let Some(recovery) = info.recovery {
            json.name("recoveryLevel").text(recovery_level(recovery));
            json.name("recoverableDays")
                .number(recovery.retention_days.into());
        }
        json.name("exportable").bool(attributes.spec.exportable);
    });
    if !attributes.tags.as_map().is_empty() {
        json.name("tags").serialized(&attributes.tags);
    }
    if deleted {
        let name = info.name.as_str();
        json.name("recoveryId")
            .pieces(&[base, "/deletedkeys/", name]);
        if let Some(deletion) = info.deletion {
            json.name("deletedDate").seconds(deletion.deleted);
            json.name("scheduledPurgeDate").seconds(deletion.purge_at);
        }
    }
    json.name("hsm").object(|json| ours(json, info, item));
}

/// What only our own client looks at.
fn ours(json: &mut Json, info: &KeyInfo, item: bool) {
    let attributes = &info.attributes;
    json.name("version").shown(info.version);
    json.name("type").text(attributes.spec.key_type.name());
    let usages = attributes.spec.usages.iter();
    json.name("usages")
        .array(usages, |json, usage| json.text(usage.name()));
    if let Some(algorithm) = attributes.spec.algorithm {
        json.name("algorithm").text(algorithm.name());
    }
    if let Some(registers) = attributes.spec.boot_state {
        json.name("bootState").shown(registers);
    }
    json.name("state").text(attributes.state.name());
    json.name("origin").text(match attributes.origin {
        Origin::Imported => "imported",
        _ => "generated",
    });
    json.name("created").millis(attributes.created);
    json.name("updated").millis(attributes.updated);
    let times = [
        ("notBefore", attributes.not_before),
        ("expires", attributes.expires),
        ("deleted", info.deletion.map(|deletion| deletion.deleted)),
        ("purgeAt", info.deletion.map(|deletion| deletion.purge_at)),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            json.name(name).millis(time);
        }
    }
    if item && let Some(jwk) = info.public.as_ref().and_then(|public| public.to_jwk().ok()) {
        json.name("public").serialized(&jwk);
    }
}

/// Key Vault's four levels that recover.
fn recovery_level(recovery: Recovery) -> &'static str {
    match (
        recovery.retention_days < RETENTION_DAYS_MAX,
        recovery.purge_protection,
    ) {
        (false, false) => "Recoverable+Purgeable",
        (false, true) => "Recoverable",
        (true, false) => "CustomizedRecoverable+Purgeable",
        (true, true) => "CustomizedRecoverable",
    }
}

/// A bundle or an item.
#[derive(Deserialize)]
struct KeyIn<'a> {
    key: Option<Jwk>,
    #[serde(borrow)]
    kid: Option<Text<'a>>,
    #[serde(borrow, default)]
    attributes: AttributesIn<'a>,
    tags: Option<TagsIn>,
    #[serde(rename = "deletedDate")]
    deleted_date: Option<u64>,
    #[serde(rename = "scheduledPurgeDate")]
    purge_date: Option<u64>,
    #[serde(borrow)]
    hsm: Option<HsmIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttributesIn<'a> {
    enabled: Option<bool>,
    nbf: Option<u64>,
    exp: Option<u64>,
    created: Option<u64>,
    updated: Option<u64>,
    exportable: Option<bool>,
    recoverable_days: Option<u16>,
    #[serde(borrow)]
    recovery_level: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HsmIn<'a> {
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow, rename = "type")]
    key_type: Text<'a>,
    #[serde(borrow)]
    usages: Vec<Text<'a>>,
    #[serde(borrow)]
    algorithm: Option<Text<'a>>,
    #[serde(borrow)]
    boot_state: Option<Text<'a>>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    origin: Text<'a>,
    created: u64,
    updated: u64,
    not_before: Option<u64>,
    expires: Option<u64>,
    deleted: Option<u64>,
    purge_at: Option<u64>,
    public: Option<Jwk>,
}

#[derive(Deserialize)]
struct PageIn<'a> {
    #[serde(borrow, default)]
    value: Vec<KeyIn<'a>>,
    #[serde(borrow, rename = "nextLink")]
    next_link: Option<Text<'a>>,
}

pub(crate) fn read_bundle(body: &[u8]) -> Result<Response> {
    let key: KeyIn<'_> = read::object(body)?;
    Ok(Response::Key(Box::new(key.info()?)))
}

pub(crate) fn read_items(body: &[u8]) -> Result<Response> {
    let page: PageIn<'_> = read::object(body)?;
    Ok(Response::Keys(Page {
        items: page.value.iter().map(KeyIn::info).collect::<Result<_>>()?,
        next: read_next_link(page.next_link.as_ref().map(Text::as_str)),
    }))
}

impl KeyIn<'_> {
    fn info(&self) -> Result<KeyInfo> {
        let kid = self.key.as_ref().and_then(|key| key.kid.as_deref());
        let kid = required("kid", kid.or(self.kid.as_ref().map(Text::as_str)))?;
        let key = key_of_kid(kid)?;
        let (mut attributes, version, public) = match &self.hsm {
            Some(hsm) => {
                let public = match (&self.key, &hsm.public) {
                    (Some(key), _) if key.kty != hsm_kty(KeyFamily::Oct) => {
                        Some(PublicKey::from_jwk(key)?)
                    }
                    (_, Some(public)) => Some(PublicKey::from_jwk(public)?),
                    _ => None,
                };
                (hsm.attributes()?, hsm.version.as_str().parse()?, public)
            }
            None => {
                let (attributes, public) = self.key_vault()?;
                (attributes, key.version.unwrap_or(UNTOLD), public)
            }
        };
        attributes.spec.exportable = self.attributes.exportable.unwrap_or(false);
        if let Some(tags) = &self.tags {
            attributes.tags = tags.0.clone();
        }
        Ok(self.complete(key.name, version, attributes, public))
    }

    fn complete(
        &self,
        name: KeyName,
        version: VersionId,
        attributes: Attributes,
        public: Option<PublicKey>,
    ) -> KeyInfo {
        let mut info = KeyInfo::new(name, version, attributes, public);
        info.recovery = self
            .attributes
            .recoverable_days
            .map(|retention_days| Recovery {
                retention_days,
                purge_protection: self
                    .attributes
                    .recovery_level
                    .as_ref()
                    .is_some_and(|level| !level.as_str().contains("Purgeable")),
            });
        let hsm = self.hsm.as_ref();
        let deletion = match hsm {
            Some(hsm) => hsm.deleted.zip(hsm.purge_at).map(|(deleted, purge_at)| {
                (
                    Timestamp::from_unix_millis(deleted),
                    Timestamp::from_unix_millis(purge_at),
                )
            }),
            None => self
                .deleted_date
                .zip(self.purge_date)
                .map(|(deleted, purge_at)| {
                    (
                        Timestamp::from_unix_seconds(deleted),
                        Timestamp::from_unix_seconds(purge_at),
                    )
                }),
        };
        info.deletion = deletion.map(|(deleted, purge_at)| Deletion { deleted, purge_at });
        info
    }

    /// What Key Vault says of a key. Its listings do not say what kind of key it is: the key has no usages then.
    fn key_vault(&self) -> Result<(Attributes, Option<PublicKey>)> {
        let (mut spec, public) = match &self.key {
            Some(key) => key_vault_spec(key)?,
            None => {
                let key_type = KeyType::Aes256;
                let mut spec = KeySpec::new(key_type, default_usages(key_type))?;
                spec.usages = Usages::NONE;
                (spec, None)
            }
        };
        let given = &self.attributes;
        spec.exportable = given.exportable.unwrap_or(false);
        let time = |seconds: Option<u64>| seconds.map(Timestamp::from_unix_seconds);
        let created = time(given.created).unwrap_or_default();
        let mut attributes = Attributes::new(spec, Origin::Generated, created);
        attributes.updated = time(given.updated).unwrap_or(created);
        attributes.not_before = time(given.nbf);
        attributes.expires = time(given.exp);
        attributes.state = match given.enabled {
            Some(false) => State::Suspended,
            _ => State::Active,
        };
        Ok((attributes, public))
    }
}

/// Type and usages by `kty`, `crv`, the modulus and `key_ops`.
fn key_vault_spec(key: &Jwk) -> Result<(KeySpec, Option<PublicKey>)> {
    let names = key.key_ops.as_deref().unwrap_or_default();
    // Usages that we do not have are of no use here.
    let usages: Usages = names.iter().filter_map(|name| name.parse().ok()).collect();
    let symmetric = key.kty.strip_suffix("-HSM").unwrap_or(&key.kty) == KeyFamily::Oct.kty();
    let public = match symmetric {
        true => None,
        false => Some(PublicKey::from_jwk(key)?),
    };
    let key_type = match &public {
        Some(public) => public.key_type(),
        None => KeyKind {
            kty: Some(&key.kty),
            curve: None,
            bits: None,
        }
        .key_type((!usages.is_empty()).then_some(usages))?,
    };
    let mut spec = KeySpec::new(key_type, default_usages(key_type))?;
    spec.usages = usages;
    Ok((spec, public))
}

impl HsmIn<'_> {
    fn attributes(&self) -> Result<Attributes> {
        let key_type = self.key_type.as_str().parse()?;
        let mut spec = KeySpec::new(key_type, default_usages(key_type))?;
        spec.usages = super::usages(&self.usages)?;
        if let Some(algorithm) = &self.algorithm {
            spec = spec.only(algorithm.as_str().parse()?)?;
        }
        if let Some(registers) = &self.boot_state {
            spec = spec.in_boot_state(registers.as_str().parse()?);
        }
        let origin = match self.origin.as_str() {
            "generated" => Origin::Generated,
            "imported" => Origin::Imported,
            _ => return Err(invalid("`hsm.origin` is `generated` or `imported`")),
        };
        let time = Timestamp::from_unix_millis;
        let mut attributes = Attributes::new(spec, origin, time(self.created));
        attributes.updated = time(self.updated);
        attributes.not_before = self.not_before.map(time);
        attributes.expires = self.expires.map(time);
        attributes.state = State::ALL
            .into_iter()
            .find(|state| state.name() == self.state.as_str())
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "`hsm.state` is no state"))?;
        Ok(attributes)
    }
}
