//! Operations with keys: what the lifecycle and the usages allow, then the device.

use std::sync::Arc;

use super::Engine;
use super::cache::{CachedKey, Usable};
use super::record::{self, KeyRecord, VersionRecord, version_key};
use super::session::{Asked, Done};
use super::tree::Records;
use crate::algorithm::{Algorithm, Operation};
use crate::device::{CiphertextRef, DeriveParameters, SignInput};
use crate::error::{Error, ErrorKind, Result, invalid, limit};
use crate::key::{KeyName, KeyRef, PublicKey, Usage, VersionId};
use crate::limits::{DERIVE_PARAMETER_LEN_MAX, DERIVED_LEN_MAX, RANDOM_LEN_MAX, WRAP_LEN_MAX};
use crate::policy::Permit;
use crate::request::{Request, Response};
use crate::secret::SecretBytes;
use crate::store::Space;

impl Engine {
    /// Does what is asked. Whoever calls this holds the permit for it.
    pub(super) async fn dispatch(&self, asked: Asked<'_>, request: Request<'_>) -> Result<Done> {
        let mut done = self.carry_out(asked, request).await?;
        self.add_recovery(&mut done.response);
        Ok(done)
    }

    async fn carry_out(&self, asked: Asked<'_>, request: Request<'_>) -> Result<Done> {
        let permit = asked.permit;
        match request {
            Request::Sign {
                key,
                algorithm,
                input,
            } => self.sign(permit, &key, algorithm, input).await,
            Request::Verify {
                key,
                algorithm,
                input,
                signature,
            } => self.verify(permit, &key, algorithm, input, signature).await,
            Request::Mac {
                key,
                algorithm,
                message,
            } => self.mac(permit, &key, algorithm, message).await,
            Request::VerifyMac {
                key,
                algorithm,
                message,
                tag,
            } => self.verify_mac(permit, &key, algorithm, message, tag).await,
            Request::Encrypt {
                key,
                algorithm,
                plaintext,
                iv,
                aad,
            } => {
                self.encrypt(permit, &key, algorithm, plaintext, iv, aad)
                    .await
            }
            Request::Decrypt {
                key,
                algorithm,
                ciphertext,
                aad,
            } => self.decrypt(permit, &key, algorithm, ciphertext, aad).await,
            Request::Wrap {
                key,
                algorithm,
                plaintext,
            } => self.wrap(permit, &key, algorithm, plaintext).await,
            Request::Unwrap {
                key,
                algorithm,
                wrapped,
            } => self.unwrap(permit, &key, algorithm, wrapped).await,
            Request::Agree {
                key,
                algorithm,
                peer,
            } => self.agree(permit, &key, algorithm, peer).await,
            Request::Encapsulate { key, algorithm } => {
                self.encapsulate(permit, &key, algorithm).await
            }
            Request::Decapsulate {
                key,
                algorithm,
                ciphertext,
            } => self.decapsulate(permit, &key, algorithm, ciphertext).await,
            Request::Derive {
                key,
                algorithm,
                salt_or_label,
                info_or_context,
                len,
            } => {
                let parameters = DeriveParameters {
                    salt_or_label,
                    info_or_context,
                };
                self.derive(permit, &key, algorithm, parameters, len).await
            }
            Request::Random { len } => self.random_bytes(permit, len).await,

            Request::CreateKey { name, new } => self.create_key(asked, name, new).await,
            Request::ImportKey {
                name,
                new,
                material,
            } => self.import_key(asked, name, new, material).await,
            Request::ImportWrappedKey {
                name,
                new,
                wrapping,
                algorithm,
                wrapped,
                format,
            } => {
                self.import_wrapped_key(asked, name, new, &wrapping, algorithm, wrapped, format)
                    .await
            }
            Request::ExportKey {
                key,
                wrapping,
                algorithm,
            } => self.export_key(asked, &key, &wrapping, algorithm).await,
            Request::GetKey { key } => self.get_key(permit, &key).await,
            Request::AttestKey { key, nonce, pcrs } => {
                self.attest_key(permit, &key, nonce, pcrs).await
            }
            Request::ListKeys { page } => self.list_keys(permit, Space::Keys, page).await,
            Request::ListDeletedKeys { page } => {
                self.list_keys(permit, Space::DeletedKeys, page).await
            }
            Request::ListVersions { name, page } => self.list_versions(permit, &name, page).await,
            Request::UpdateKey { key, update } => self.update_key(asked, key, update).await,
            Request::RotateKey { name } => self.rotate_key(asked, name).await,
            Request::GetRotationPolicy { name } => self.rotation_policy(permit, &name).await,
            Request::SetRotationPolicy { name, policy } => {
                self.set_rotation_policy(asked, name, policy).await
            }
            Request::DeleteKey { name } => self.delete_key(asked, name).await,
            Request::GetDeletedKey { name } => self.get_deleted_key(permit, &name).await,
            Request::RecoverKey { name } => self.recover_key(asked, name).await,
            Request::PurgeKey { name } => self.purge_key(asked, name).await,

            Request::BackupKey { name } => self.backup_key(asked, name).await,
            Request::RestoreKey { backup } => self.restore_key(asked, backup).await,

            Request::ListRoleDefinitions => self.list_role_definitions(permit),
            Request::PutRoleDefinition { definition } => {
                self.put_role_definition(asked, definition).await
            }
            Request::DeleteRoleDefinition { id } => self.delete_role_definition(asked, id).await,
            Request::ListRoleAssignments { scope } => {
                self.list_role_assignments(permit, scope.as_ref())
            }
            Request::CreateRoleAssignment {
                id,
                role,
                principal,
                scope,
            } => {
                self.create_role_assignment(asked, id, role, principal, scope)
                    .await
            }
            Request::DeleteRoleAssignment { id } => self.delete_role_assignment(asked, id).await,

            Request::CreateUser { name, password } => self.create_user(asked, name, password).await,
            Request::ListUsers { page } => self.list_users(permit, page).await,
            Request::UpdateUser { name, update } => self.update_user(asked, name, update).await,
            Request::DeleteUser { name } => self.delete_user(asked, name).await,
            Request::ChangePassword { old, new } => self.change_password(asked, old, new).await,
            Request::CreateToken {
                name,
                principal,
                expires,
            } => self.create_token(asked, name, principal, expires).await,
            Request::ListTokens { page } => self.list_tokens(permit, page).await,
            Request::DeleteToken { name } => self.delete_token(asked, name).await,

            Request::GetSettings => Ok(Done::read(self.partition_info(permit))),
            Request::UpdateSettings { update } => self.update_settings(asked, update).await,
            Request::ListAuditStreams => self.list_audit_streams(permit),
            Request::ReadAudit {
                stream,
                from,
                limit,
            } => self.read_audit(permit, stream, from, limit).await,
            Request::Zeroize { confirm } => self.zeroize(asked, confirm).await,
        }
    }

    async fn sign(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        input: SignInput<'_>,
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Sign).await?;
        usable.attributes.spec.check(Operation::Sign, algorithm)?;
        check_sign_input(algorithm, input)?;
        let bytes = usable.loaded.sign(algorithm, input).await?;
        let version = usable.version;
        Ok(Done::used(
            Response::Signature { bytes, version },
            cached,
            version,
        ))
    }

    async fn verify(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Verify).await?;
        usable.attributes.spec.check(Operation::Sign, algorithm)?;
        check_sign_input(algorithm, input)?;
        usable.loaded.verify(algorithm, input, signature).await?;
        Ok(Done::used(Response::Done, cached, usable.version))
    }

    async fn mac(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Sign).await?;
        usable.attributes.spec.check(Operation::Mac, algorithm)?;
        let bytes = usable.loaded.mac(algorithm, message).await?;
        let version = usable.version;
        Ok(Done::used(
            Response::Signature { bytes, version },
            cached,
            version,
        ))
    }

    async fn verify_mac(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        message: &[u8],
        tag: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Verify).await?;
        usable.attributes.spec.check(Operation::Mac, algorithm)?;
        usable.loaded.verify_mac(algorithm, message, tag).await?;
        Ok(Done::used(Response::Done, cached, usable.version))
    }

    async fn encrypt(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Encrypt).await?;
        usable
            .attributes
            .spec
            .check(Operation::Encrypt, algorithm)?;
        refuse_rsa1_5_encryption(algorithm)?;
        let ciphertext = usable.loaded.encrypt(algorithm, plaintext, iv, aad).await?;
        let version = usable.version;
        Ok(Done::used(
            Response::Ciphertext {
                ciphertext,
                version,
            },
            cached,
            version,
        ))
    }

    async fn decrypt(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Decrypt).await?;
        usable
            .attributes
            .spec
            .check(Operation::Encrypt, algorithm)?;
        self.check_rsa1_5_policy(algorithm)?;
        let plaintext = usable.loaded.decrypt(algorithm, ciphertext, aad).await?;
        Ok(Done::used(
            Response::Secret(plaintext),
            cached,
            usable.version,
        ))
    }

    async fn wrap(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        plaintext: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::WrapKey).await?;
        usable.attributes.spec.check(Operation::Wrap, algorithm)?;
        refuse_rsa1_5_encryption(algorithm)?;
        if plaintext.len() > WRAP_LEN_MAX {
            return Err(limit(
                "the length of the key to wrap",
                plaintext.len(),
                WRAP_LEN_MAX,
            ));
        }
        let bytes = usable.loaded.wrap(algorithm, plaintext).await?;
        let version = usable.version;
        Ok(Done::used(
            Response::Wrapped { bytes, version },
            cached,
            version,
        ))
    }

    async fn unwrap(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        wrapped: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::UnwrapKey).await?;
        usable.attributes.spec.check(Operation::Wrap, algorithm)?;
        self.check_rsa1_5_policy(algorithm)?;
        if wrapped.len() > WRAP_LEN_MAX + 16 {
            return Err(limit(
                "the length of the wrapped key",
                wrapped.len(),
                WRAP_LEN_MAX + 16,
            ));
        }
        let plaintext = usable.loaded.unwrap(algorithm, wrapped).await?;
        Ok(Done::used(
            Response::Secret(plaintext),
            cached,
            usable.version,
        ))
    }

    async fn agree(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        peer: &PublicKey,
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::DeriveBits).await?;
        let key_type = usable.attributes.spec.key_type;
        usable.attributes.spec.check(Operation::Agree, algorithm)?;
        if peer.key_type() != key_type {
            return Err(invalid(format!(
                "the peer's key is of type {}, this one of type {key_type}: they must be of one curve",
                peer.key_type()
            )));
        }
        let secret = usable.loaded.agree(algorithm, peer).await?;
        Ok(Done::used(Response::Secret(secret), cached, usable.version))
    }

    async fn encapsulate(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Encapsulate).await?;
        usable
            .attributes
            .spec
            .check(Operation::Encapsulate, algorithm)?;
        let encapsulated = usable.loaded.encapsulate(algorithm).await?;
        let version = usable.version;
        Ok(Done::used(
            Response::Encapsulated {
                encapsulated,
                version,
            },
            cached,
            version,
        ))
    }

    async fn decapsulate(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        ciphertext: &[u8],
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::Decapsulate).await?;
        usable
            .attributes
            .spec
            .check(Operation::Encapsulate, algorithm)?;
        check_encapsulation(algorithm, ciphertext)?;
        let secret = usable.loaded.decapsulate(algorithm, ciphertext).await?;
        Ok(Done::used(Response::Secret(secret), cached, usable.version))
    }

    async fn derive(
        &self,
        permit: &Permit,
        key: &KeyRef,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<Done> {
        let (cached, usable) = self.usable(permit, key, Usage::DeriveKey).await?;
        usable.attributes.spec.check(Operation::Derive, algorithm)?;
        let longest = parameters
            .salt_or_label
            .len()
            .max(parameters.info_or_context.len());
        if longest > DERIVE_PARAMETER_LEN_MAX {
            return Err(limit(
                "the length of a derivation parameter",
                longest,
                DERIVE_PARAMETER_LEN_MAX,
            ));
        }
        if len == 0 {
            return Err(invalid("a derivation makes at least one byte"));
        }
        if len > DERIVED_LEN_MAX {
            return Err(limit("the length to derive", len, DERIVED_LEN_MAX));
        }
        let secret = usable.loaded.derive(algorithm, parameters, len).await?;
        Ok(Done::used(Response::Secret(secret), cached, usable.version))
    }

    async fn random_bytes(&self, _permit: &Permit, len: usize) -> Result<Done> {
        if len > RANDOM_LEN_MAX {
            return Err(limit("the number of random bytes", len, RANDOM_LEN_MAX));
        }
        let mut bytes = vec![0; len];
        self.0.device.random(&mut bytes).await?;
        Ok(Done::read(Response::Secret(SecretBytes::from(bytes))))
    }

    /// The key version that is asked for, loaded, if its state and usages allow `usage` now.
    pub(super) async fn usable(
        &self,
        permit: &Permit,
        key: &KeyRef,
        usage: Usage,
    ) -> Result<(Arc<CachedKey>, Arc<Usable>)> {
        let cached = self.cached(permit, &key.name).await?;
        let usable = match cached.version(key.version) {
            Some(usable) => usable,
            None => self.old_version(&cached, key).await?,
        };
        let attributes = &usable.attributes;
        let state = attributes.state_at(self.now());
        if !state.allows(usage) {
            return Err(Error::new(
                ErrorKind::KeyState,
                format!(
                    "key {key} is {state}, which does not allow to {}",
                    usage.name()
                ),
            ));
        }
        if !attributes.spec.usages.contains(usage) {
            return Err(Error::new(
                ErrorKind::KeyState,
                format!(
                    "key {key} may not {}; it may: {}",
                    usage.name(),
                    attributes.spec.usages
                ),
            ));
        }
        Ok((cached, usable))
    }

    async fn cached(&self, _permit: &Permit, name: &KeyName) -> Result<Arc<CachedKey>> {
        if let Some(cached) = self.0.keys.get(name) {
            return Ok(cached);
        }
        let (seen, record, version, current) = self
            .view(|view| {
                let record = key_record(view, name)?;
                let version = record.current(name)?;
                let current = version_record(view, name, version)?;
                Ok((view.anchor().journal.records, record, version, current))
            })
            .await?;
        let current = self.load(name, version, current).await?;
        let cached = Arc::new(CachedKey::new(
            name,
            record,
            current,
            self.0.time.monotonic(),
        ));
        let known = self.0.known.lock();
        // A key that changed while it was being loaded may be used this once, and no longer.
        if !known.changed_since(seen, name) {
            self.0.keys.insert(name.clone(), cached.clone());
        }
        Ok(cached)
    }

    async fn old_version(&self, cached: &CachedKey, key: &KeyRef) -> Result<Arc<Usable>> {
        let version = key
            .version
            .filter(|version| cached.record.versions.contains(version));
        let version = version.ok_or_else(|| no_such_version(key))?;
        let record = self
            .view(|view| version_record(view, &key.name, version))
            .await?;
        let usable = self.load(&key.name, version, record).await?;
        cached.keep(usable.clone());
        Ok(usable)
    }

    async fn load(
        &self,
        name: &KeyName,
        version: VersionId,
        record: VersionRecord,
    ) -> Result<Arc<Usable>> {
        let binding = record.attributes.binding(name, version)?;
        let loaded = self
            .0
            .device
            .load(&record.sealed, &binding)
            .await
            .map_err(|error| {
                if error.kind() == ErrorKind::Damaged {
                    super::tree::damaged(format!(
                        "key {name}/{version} does not open: its record was changed"
                    ))
                    .with_source(error)
                } else {
                    error
                }
            })?;
        Ok(Arc::new(Usable {
            version,
            attributes: record.attributes,
            loaded,
        }))
    }

    fn check_rsa1_5_policy(&self, algorithm: Algorithm) -> Result<()> {
        if algorithm == Algorithm::Rsa1_5 && !self.0.policy.read().settings.danger_rsa1_5_decrypt {
            return Err(Error::new(
                ErrorKind::Denied,
                "RSA1_5 is off, as it invites Bleichenbacher's attack; the setting danger_rsa1_5_decrypt switches it on",
            ));
        }
        Ok(())
    }
}

/// A key's record, or the error that there is no such key.
pub(super) fn key_record(records: &impl Records, name: &KeyName) -> Result<KeyRecord> {
    record::get(records, Space::Keys, name.as_str().as_bytes())?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no key {name}")))
}

/// A version's record. The key's record names the version, so that a missing one is damage.
pub(super) fn version_record(
    records: &impl Records,
    name: &KeyName,
    version: VersionId,
) -> Result<VersionRecord> {
    record::get(records, Space::Versions, &version_key(name, version))?.ok_or_else(|| {
        super::tree::damaged(format!("the record of key {name}/{version} is missing"))
    })
}

pub(super) fn no_such_version(key: &KeyRef) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no key {key}"))
}

fn refuse_rsa1_5_encryption(algorithm: Algorithm) -> Result<()> {
    if algorithm == Algorithm::Rsa1_5 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "RSA1_5 is for decrypting what others encrypted; encrypt with RSA-OAEP-256",
        ));
    }
    Ok(())
}

fn check_encapsulation(algorithm: Algorithm, ciphertext: &[u8]) -> Result<()> {
    match algorithm.encapsulation_len() {
        Some(len) if len != ciphertext.len() => Err(invalid(format!(
            "a ciphertext of {algorithm} has {len} bytes, this one has {}",
            ciphertext.len()
        ))),
        _ => Ok(()),
    }
}

fn check_sign_input(algorithm: Algorithm, input: SignInput<'_>) -> Result<()> {
    let SignInput::Digest(digest) = input else {
        return Ok(());
    };
    let Some(hash) = algorithm.hash() else {
        return Err(invalid(format!("{algorithm} signs messages, not digests")));
    };
    if digest.len() != hash.output_len() {
        return Err(invalid(format!(
            "a digest for {algorithm} has {} bytes, this one has {}",
            hash.output_len(),
            digest.len()
        )));
    }
    Ok(())
}
