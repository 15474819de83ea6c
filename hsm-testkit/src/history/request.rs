//! From an [`Act`] to the [`Request`] that it is.

use std::time::Duration;

use hsm_core::policy::{RoleDefinition, RotationPolicy};
use hsm_core::{
    Algorithm, AttributesUpdate, Ciphertext, IfTaken, KeyRef, KeySpec, KeyType, NewKeyParameters,
    PageRequest, PublicKey, Request, Result, SecretBytes, SettingsUpdate, SignInput, Tags,
    Timestamp, UserUpdate, WrappedFormat,
};

use super::Transcript;
use super::step::{Act, Change, How, Kind, Life, Material, Policy, Use, Which, assignment, custom};

/// What is bound to every ciphertext of a history.
pub(super) const AAD: &[u8] = b"history";

/// What every derivation derives for.
pub(super) const LABEL: &[u8] = b"history";

/// How long derived secrets are.
pub(super) const DERIVED_LEN: usize = 32;

/// The number under which transcripts know the assignment that every service begins with.
pub(super) const FIRST_ASSIGNMENT: usize = 1;

/// Another side to agree with: the base point of X25519 (RFC 7748 section 4.1), whose private half is 1.
pub(super) const PEER: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// What a request borrows.
#[derive(Default)]
pub(super) struct Parts {
    bytes: Vec<u8>,
    ciphertext: Ciphertext,
    peer: Option<PublicKey>,
}

/// An act whose versions and products are there, for both services.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) act: Act,
    pub(super) now: Timestamp,
    /// The password that the caller has.
    pub(super) password: String,
    /// For [`Act::Check`]: how the product was made.
    pub(super) made: Option<Made>,
}

/// How a product came about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) by: Use,
    pub(super) key: Which,
    pub(super) text: &'static str,
}

impl Ready {
    /// Takes from the transcript of a service what the request will borrow.
    pub(super) fn parts(&self, seen: &Transcript) -> Result<Parts> {
        let mut parts = Parts::default();
        match (&self.act, self.made.map(|made| made.by)) {
            (Act::Check { product, .. }, Some(Use::Encrypt)) => {
                parts.ciphertext = seen.ciphertext(*product)?;
            }
            (Act::Check { product, .. } | Act::ImportWrapped { product, .. }, _) => {
                parts.bytes = seen.bytes(*product)?;
            }
            (Act::Use { .. }, _) => {
                parts.peer = Some(PublicKey::from_raw(KeyType::X25519, PEER)?);
            }
            (Act::Restore { backup, .. }, _) => parts.bytes = seen.backup(*backup)?,
            _ => {}
        }
        if let Act::Restore { edited: true, .. } = self.act {
            parts.bytes = super::edited(parts.bytes);
        }
        if let Act::Check { edited: true, .. } = self.act {
            parts.bytes = super::edited(parts.bytes);
            parts.ciphertext.ciphertext = super::edited(parts.ciphertext.ciphertext);
        }
        Ok(parts)
    }

    /// The request, in terms of one service.
    pub(super) fn request<'a>(
        &'a self,
        seen: &Transcript,
        parts: &'a Parts,
    ) -> Result<Request<'a>> {
        let key_of = |which: &Which| -> Result<KeyRef> {
            let name = which.name.parse()?;
            Ok(KeyRef {
                version: match which.version {
                    None => None,
                    Some(number) => Some(seen.version(which.name, number)?),
                },
                name,
            })
        };
        Ok(match &self.act {
            Act::Create { key, kind, life } => Request::CreateKey {
                name: key.parse()?,
                new: self.new_key(*kind, life)?,
            },
            Act::Import {
                key,
                kind,
                life,
                material,
            } => Request::ImportKey {
                name: key.parse()?,
                new: self.new_key(*kind, life)?,
                material: SecretBytes::copy_from(material.bytes()),
            },
            Act::Export { key, wrapping } => Request::ExportKey {
                key: key_of(key)?,
                wrapping: key_of(wrapping)?,
                algorithm: Use::Wrap.algorithm(),
            },
            Act::ImportWrapped {
                key,
                kind,
                life,
                wrapping,
                ..
            } => Request::ImportWrappedKey {
                name: key.parse()?,
                new: self.new_key(*kind, life)?,
                wrapping: key_of(wrapping)?,
                algorithm: Use::Wrap.algorithm(),
                wrapped: &parts.bytes,
                format: WrappedFormat::Bound,
            },
            Act::Get { key } => Request::GetKey { key: key_of(key)? },
            Act::List { deleted, page } => {
                let page = PageRequest {
                    after: page.after.map(str::to_owned),
                    limit: page.limit,
                };
                match deleted {
                    false => Request::ListKeys { page },
                    true => Request::ListDeletedKeys { page },
                }
            }
            Act::ListVersions { key, after, limit } => {
                let after = after.map(|number| seen.version(key, number));
                Request::ListVersions {
                    name: key.parse()?,
                    page: PageRequest {
                        after: after.transpose()?.map(|version| version.to_string()),
                        limit: *limit,
                    },
                }
            }
            Act::GetDeleted { key } => Request::GetDeletedKey { name: key.parse()? },
            Act::Update { key, change } => Request::UpdateKey {
                key: key_of(key)?,
                update: self.update(change)?,
            },
            Act::Rotate { key } => Request::RotateKey { name: key.parse()? },
            Act::GetPolicy { key } => Request::GetRotationPolicy { name: key.parse()? },
            Act::SetPolicy { key, policy } => Request::SetRotationPolicy {
                name: key.parse()?,
                policy: policy.map(Policy::build).transpose()?,
            },
            Act::Delete { key } => Request::DeleteKey { name: key.parse()? },
            Act::Recover { key } => Request::RecoverKey { name: key.parse()? },
            Act::Purge { key } => Request::PurgeKey { name: key.parse()? },
            Act::Backup { key } => Request::BackupKey { name: key.parse()? },
            Act::Restore { .. } => Request::RestoreKey {
                backup: &parts.bytes,
            },
            Act::Use {
                key,
                operation,
                text,
            } => operate(key_of(key)?, *operation, text.as_bytes(), parts)?,
            Act::Check { key, .. } => {
                let made = self.made.ok_or_else(super::impossible)?;
                check(key_of(&key.unwrap_or(made.key))?, made, parts)?
            }
            Act::PutRole { id, name, actions } => Request::PutRoleDefinition {
                definition: RoleDefinition::new(custom(*id), *name, "", actions.set())?,
            },
            Act::DeleteRole { role } => Request::DeleteRoleDefinition { id: role.id() },
            Act::ListRoles => Request::ListRoleDefinitions,
            Act::Assign { id, role, user, at } => Request::CreateRoleAssignment {
                id: Some(assignment(*id)),
                role: role.id(),
                principal: user.parse()?,
                scope: at.scope()?,
            },
            Act::Unassign { id } => Request::DeleteRoleAssignment {
                id: match id {
                    Some(id) => assignment(*id),
                    None => seen.assignment(FIRST_ASSIGNMENT)?,
                },
            },
            Act::ListAssignments { at } => Request::ListRoleAssignments {
                scope: at.map(super::step::Place::scope).transpose()?,
            },
            Act::CreateUser { user, password } => Request::CreateUser {
                name: user.parse()?,
                password: SecretBytes::copy_from(password.as_bytes()),
            },
            Act::UpdateUser { user, how } => Request::UpdateUser {
                name: user.parse()?,
                update: match how {
                    How::Disable => UserUpdate::Disable,
                    How::Enable => UserUpdate::Enable,
                    How::Password(password) => {
                        UserUpdate::Password(SecretBytes::copy_from(password.as_bytes()))
                    }
                    How::Unlock => UserUpdate::Unlock,
                },
            },
            Act::DeleteUser { user } => Request::DeleteUser {
                name: user.parse()?,
            },
            Act::ChangePassword { new, .. } => Request::ChangePassword {
                old: SecretBytes::copy_from(self.password.as_bytes()),
                new: SecretBytes::copy_from(new.as_bytes()),
            },
            Act::CreateToken {
                token,
                user,
                expires,
            } => Request::CreateToken {
                name: token.parse()?,
                principal: user.parse()?,
                expires: self.time(*expires),
            },
            Act::ListTokens => Request::ListTokens {
                page: PageRequest::default(),
            },
            Act::DeleteToken { token } => Request::DeleteToken {
                name: token.parse()?,
            },
            Act::ListUsers => Request::ListUsers {
                page: PageRequest::default(),
            },
            Act::GetSettings => Request::GetSettings,
            Act::Set {
                retention_days,
                purge_protection,
            } => Request::UpdateSettings {
                update: SettingsUpdate {
                    retention_days: *retention_days,
                    purge_protection: *purge_protection,
                    danger_rsa1_5_decrypt: None,
                },
            },
        })
    }

    fn new_key(&self, kind: Kind, life: &Life) -> Result<NewKeyParameters> {
        let mut spec = KeySpec::new(kind.key_type(), kind.usages())?;
        if life.exportable {
            spec = spec.exportable();
        }
        let mut new = NewKeyParameters::new(spec);
        new.not_before = life.not_before.map(|offset| self.time(offset));
        new.expires = life.expires.map(|offset| self.time(offset));
        new.pre_activation = life.pre_activation;
        if let Some(tag) = life.tag {
            new.tags = Tags::new([("tag", tag)])?;
        }
        new.rotation = life.rotation.map(Policy::build).transpose()?;
        if life.or_add_version {
            new.if_taken = IfTaken::AddVersion;
        }
        Ok(new)
    }

    fn update(&self, change: &Change) -> Result<AttributesUpdate> {
        let mut update = AttributesUpdate::new();
        if let Some(event) = change.event {
            update = update.event(event);
        }
        if let Some(enabled) = change.enabled {
            update = update.enabled(enabled);
        }
        if let Some(usages) = change.usages {
            update = update.usages(usages);
        }
        if let Some(offset) = change.not_before {
            update = update.not_before(offset.map(|offset| self.time(offset)));
        }
        if let Some(offset) = change.expires {
            update = update.expires(offset.map(|offset| self.time(offset)));
        }
        if let Some(tag) = change.tag {
            update = update.tags(Tags::new([("tag", tag)])?);
        }
        Ok(update)
    }

    /// The time so many seconds from now.
    pub(super) fn time(&self, offset: i64) -> Timestamp {
        let by = Duration::from_secs(offset.unsigned_abs());
        match offset {
            0.. => self.now + by,
            _ => Timestamp::from_unix_seconds(self.now.unix_seconds().saturating_sub(by.as_secs())),
        }
    }
}

fn operate<'a>(
    key: KeyRef,
    operation: Use,
    text: &'a [u8],
    parts: &'a Parts,
) -> Result<Request<'a>> {
    let algorithm = operation.algorithm();
    Ok(match operation {
        Use::Sign | Use::Natural => Request::Sign {
            key,
            algorithm,
            input: SignInput::Message(text),
        },
        Use::Mac => Request::Mac {
            key,
            algorithm,
            message: text,
        },
        Use::Encrypt => Request::Encrypt {
            key,
            algorithm,
            plaintext: text,
            iv: None,
            aad: AAD,
        },
        Use::Wrap => Request::Wrap {
            key,
            algorithm,
            plaintext: text,
        },
        Use::Derive => Request::Derive {
            key,
            algorithm,
            salt_or_label: text,
            info_or_context: LABEL,
            len: DERIVED_LEN,
        },
        Use::Agree => Request::Agree {
            key,
            algorithm,
            peer: parts.peer.as_ref().ok_or_else(super::impossible)?,
        },
        Use::Encapsulate => Request::Encapsulate { key, algorithm },
    })
}

/// The way back of what was made.
fn check(key: KeyRef, made: Made, parts: &Parts) -> Result<Request<'_>> {
    let algorithm = made.by.algorithm();
    let text = made.text.as_bytes();
    Ok(match made.by {
        Use::Sign | Use::Natural => Request::Verify {
            key,
            algorithm,
            input: SignInput::Message(text),
            signature: &parts.bytes,
        },
        Use::Mac => Request::VerifyMac {
            key,
            algorithm,
            message: text,
            tag: &parts.bytes,
        },
        Use::Encrypt => Request::Decrypt {
            key,
            algorithm,
            ciphertext: parts.ciphertext.as_ref(),
            aad: AAD,
        },
        Use::Wrap => Request::Unwrap {
            key,
            algorithm,
            wrapped: &parts.bytes,
        },
        Use::Encapsulate => Request::Decapsulate {
            key,
            algorithm,
            ciphertext: &parts.bytes,
        },
        Use::Derive | Use::Agree => return Err(super::impossible()),
    })
}

impl Use {
    /// The algorithm that histories use for it.
    pub(super) const fn algorithm(self) -> Algorithm {
        match self {
            Self::Natural | Self::Sign => Algorithm::Es256,
            Self::Mac => Algorithm::Hs256,
            Self::Encrypt => Algorithm::A256Gcm,
            Self::Wrap => Algorithm::A256Kwp,
            Self::Derive => Algorithm::HkdfSha256,
            Self::Agree => Algorithm::EcdhEs,
            Self::Encapsulate => Algorithm::XWing,
        }
    }
}

impl Material {
    pub(super) const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Ones => &[1; 32],
            Self::Twos => &[2; 32],
            Self::Short => &[1; 31],
        }
    }
}

impl Policy {
    fn build(self) -> Result<RotationPolicy> {
        match self {
            Self::After(period, None) => RotationPolicy::rotate_after(period),
            Self::After(period, Some(life)) => {
                RotationPolicy::rotate_after(period)?.expire_after(life)
            }
            Self::BeforeExpiry(period, life) => RotationPolicy::rotate_before_expiry(period, life),
        }
    }
}
