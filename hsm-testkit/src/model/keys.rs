//! Keys: a name, its versions, a policy, and perhaps a deletion. And what is done with them.

use std::time::Duration;

use hsm_core::attestation::Evidence;
use hsm_core::lifecycle::State;
use hsm_core::limits::{
    KEY_BACKUP_LEN_MAX, KEY_VERSIONS_MAX, PAGE_LEN_DEFAULT, PAGE_LEN_MAX, ROTATION_RETRY,
};
use hsm_core::policy::RotationPolicy;
use hsm_core::{
    Algorithm, Attributes, AttributesUpdate, Ciphertext, Deletion, Encapsulated, Error, ErrorKind,
    IfTaken, KeyInfo, KeyName, KeyRef, KeySpec, NewKeyParameters, Operation, Origin, Page,
    PageRequest, Request, Response, Result, SecretBytes, SignInput, Timestamp, Usage, VersionId,
    WrappedFormat,
};

use super::{World, lifecycle, refuse};

/// What every backup begins with; its number follows.
const MAGIC: &[u8] = b"backup";

/// A key, live or soft-deleted.
#[derive(Clone)]
pub(super) struct Key {
    /// The last is the current one.
    versions: Vec<Version>,
    rotation: Option<RotationPolicy>,
    /// The policy could not be followed: the next try is then.
    retry: Option<Timestamp>,
    deletion: Option<Deletion>,
}

#[derive(Clone)]
struct Version {
    id: VersionId,
    attributes: Attributes,
    /// Stands for the key bytes: two versions with the same are the same key.
    material: Vec<u8>,
}

/// What came out of an operation, and of what it was made.
#[derive(Clone, PartialEq)]
pub(super) struct Made {
    by: Operation,
    algorithm: Algorithm,
    material: Vec<u8>,
    input: Vec<u8>,
    aad: Vec<u8>,
    /// What an exported key says that it is.
    spec: Option<KeySpec>,
}

impl World {
    /// Does what is asked about keys.
    pub(super) fn keep(&mut self, now: Timestamp, request: Request<'_>) -> Result<Response> {
        match request {
            Request::CreateKey { name, new } => {
                self.create(now, name, &new, Origin::Generated, |world| {
                    Ok(world.next().to_be_bytes().to_vec())
                })
            }
            Request::ImportKey {
                name,
                new,
                material,
            } => {
                let key_type = new.spec.key_type;
                let bytes = material.expose().to_vec();
                self.create(now, name, &new, Origin::Imported, |_| {
                    let fits = key_type.is_asymmetric() || bytes.len() == key_type.byte_len();
                    fits.then_some(bytes)
                        .ok_or_else(|| refuse(ErrorKind::InvalidInput, "not such a key"))
                })
            }
            Request::ImportWrappedKey {
                name,
                new,
                wrapping,
                algorithm,
                wrapped,
                format,
            } => self.import(now, name, &new, &wrapping, algorithm, wrapped, format),
            Request::ExportKey {
                key,
                wrapping,
                algorithm,
            } => self.export(now, &key, &wrapping, algorithm),
            Request::GetKey { key } => {
                let (found, at) = self.version(&key)?;
                Ok(found.info(&key.name, at))
            }
            Request::AttestKey { key, nonce, .. } => {
                let (found, at) = self.version(&key)?;
                let version = found.versions[at].id;
                let evidence = Evidence::from_bytes(nonce.as_bytes())?;
                Ok(Response::Evidence { evidence, version })
            }
            Request::GetDeletedKey { name } => Ok(self.deleted(&name)?.current(&name)),
            Request::ListKeys { page } => self.list(&page, false),
            Request::ListDeletedKeys { page } => self.list(&page, true),
            Request::ListVersions { name, page } => self.list_versions(&name, &page),
            Request::UpdateKey { key, update } => self.update(now, &key, &update),
            Request::RotateKey { name } => {
                self.rotate(now, &name)?;
                Ok(self.live(&name)?.current(&name))
            }
            Request::GetRotationPolicy { name } => {
                let rotation = self.live(&name)?.rotation.clone();
                Ok(Response::RotationPolicy(rotation))
            }
            Request::SetRotationPolicy { name, policy } => {
                let key = self.live(&name)?;
                key.rotation = policy;
                key.retry = None;
                Ok(Response::RotationPolicy(key.rotation.clone()))
            }
            Request::DeleteKey { name } => {
                let days = u64::from(self.settings.retention_days);
                let key = self.live(&name)?;
                key.deletion = Some(Deletion {
                    deleted: now,
                    purge_at: Timestamp::from_unix_seconds(now.unix_seconds() + days * DAY),
                });
                Ok(key.current(&name))
            }
            Request::RecoverKey { name } => {
                let key = self.deleted(&name)?;
                key.deletion = None;
                key.retry = None;
                Ok(key.current(&name))
            }
            Request::PurgeKey { name } => {
                let protected = self.settings.purge_protection;
                self.deleted(&name)?;
                if protected {
                    return Err(refuse(ErrorKind::KeyState, "purge protection is on"));
                }
                self.purge(&name);
                Ok(Response::Done)
            }
            Request::BackupKey { name } => {
                let copy = self.live(&name)?.clone();
                let number = self.backups.len() as u128;
                self.backups.push((name, copy));
                let bytes = [MAGIC, &number.to_be_bytes()].concat();
                Ok(Response::Backup(bytes))
            }
            Request::RestoreKey { backup } => self.restore(backup),
            Request::Random { len } => {
                let number = self.next();
                Ok(Response::Secret(stretch(number, len)))
            }
            operation => self.operate(now, operation),
        }
    }

    /// Rotates and purges what is due.
    pub(super) fn maintain(&mut self, now: Timestamp) {
        let over = self
            .keys
            .iter()
            .filter(|(_, key)| key.deletion.is_some_and(|gone| gone.purge_at <= now));
        for name in over.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.purge(&name);
        }
        let due = self.keys.iter().filter(|(_, key)| key.is_due(now));
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if self.rotate(now, &name).is_err()
                && let Some(key) = self.keys.get_mut(&name)
            {
                key.retry = Some(now + ROTATION_RETRY);
            }
        }
    }

    fn create(
        &mut self,
        now: Timestamp,
        name: KeyName,
        new: &NewKeyParameters,
        origin: Origin,
        material: impl FnOnce(&mut Self) -> Result<Vec<u8>>,
    ) -> Result<Response> {
        let mut attributes = lifecycle::first(now, new, origin, None)?;
        let add = new.if_taken == IfTaken::AddVersion;
        match self.keys.get(&name) {
            None => {}
            Some(key) if add && key.deletion.is_none() => {
                if key.versions.len() >= KEY_VERSIONS_MAX {
                    return Err(refuse(ErrorKind::LimitExceeded, "too many versions"));
                }
                attributes = lifecycle::first(now, new, origin, key.rotation.as_ref())?;
            }
            Some(_) => return Err(refuse(ErrorKind::Conflict, "the name is taken")),
        }
        let version = Version {
            material: material(self)?,
            id: self.next_version(),
            attributes,
        };
        let key = self.keys.entry(name.clone()).or_insert_with(|| Key {
            versions: Vec::new(),
            rotation: None,
            retry: None,
            deletion: None,
        });
        key.versions.push(version);
        key.retry = None;
        if new.rotation.is_some() {
            key.rotation.clone_from(&new.rotation);
        }
        Ok(key.current(&name))
    }

    /// What was compromised stays known to be so.
    fn purge(&mut self, name: &KeyName) {
        let versions = self.keys.remove(name).map(|key| key.versions);
        let versions = versions.into_iter().flatten();
        let compromised = versions.filter(|one| one.attributes.state == State::Compromised);
        self.compromised.extend(compromised.map(|one| one.id));
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<Response> {
        if bytes.len() > KEY_BACKUP_LEN_MAX {
            return Err(refuse(ErrorKind::LimitExceeded, "no backup is so long"));
        }
        let number = bytes
            .strip_prefix(MAGIC)
            .and_then(|number| number.try_into().ok())
            .map(u128::from_be_bytes)
            .ok_or_else(|| refuse(ErrorKind::InvalidInput, "no backup"))?;
        let known = usize::try_from(number)
            .ok()
            .and_then(|number| self.backups.get(number));
        let (name, mut key) = known
            .map(|(name, key)| (name.clone(), key.clone()))
            .ok_or_else(|| refuse(ErrorKind::Damaged, "not as it was made"))?;
        if self.keys.contains_key(&name) {
            return Err(refuse(ErrorKind::Conflict, "the name is taken"));
        }
        let now = self.latest;
        for version in &mut key.versions {
            let attributes = &mut version.attributes;
            if self.compromised.contains(&version.id) && attributes.state != State::Compromised {
                attributes.state = State::Compromised;
                attributes.updated = now;
            }
        }
        key.retry = None;
        let restored = key.current(&name);
        self.keys.insert(name, key);
        Ok(restored)
    }

    fn rotate(&mut self, now: Timestamp, name: &KeyName) -> Result<()> {
        let (id, material) = (self.next_version(), self.next().to_be_bytes().to_vec());
        let key = self.live(name)?;
        if key.versions.len() >= KEY_VERSIONS_MAX {
            return Err(refuse(ErrorKind::LimitExceeded, "too many versions"));
        }
        let attributes = lifecycle::next(now, &key.last().attributes, key.rotation.as_ref())?;
        key.versions.push(Version {
            id,
            attributes,
            material,
        });
        key.retry = None;
        Ok(())
    }

    fn update(
        &mut self,
        now: Timestamp,
        which: &KeyRef,
        update: &AttributesUpdate,
    ) -> Result<Response> {
        let (key, at) = self.version(which)?;
        let old = &key.versions[at].attributes;
        let attributes = lifecycle::changed(now, old, update, key.rotation.as_ref())?;
        key.versions[at].attributes = attributes;
        if at + 1 == key.versions.len() {
            key.retry = None;
        }
        Ok(key.info(&which.name, at))
    }

    fn list(&mut self, page: &PageRequest, deleted: bool) -> Result<Response> {
        let of_kind = self
            .keys
            .iter()
            .filter(|(_, key)| key.deletion.is_some() == deleted)
            .map(|(name, key)| (name.to_string(), key.describe(name, key.versions.len() - 1)));
        let after = page.after.as_deref().unwrap_or_default();
        let rest = of_kind.filter(|(name, _)| name.as_str() > after);
        Ok(Response::Keys(cut(rest.collect(), page_len(page)?)))
    }

    fn list_versions(&mut self, name: &KeyName, page: &PageRequest) -> Result<Response> {
        let len = page_len(page)?;
        let after = page.after.as_ref().map(|after| after.parse::<VersionId>());
        let after = after.transpose()?;
        let key = self.live(name)?;
        let start = match after {
            None => 0,
            Some(after) => {
                let mut ids = key.versions.iter().map(|version| version.id);
                1 + ids.position(|id| id == after).ok_or_else(nowhere)?
            }
        };
        let rest = (start..key.versions.len())
            .map(|at| (key.versions[at].id.to_string(), key.describe(name, at)));
        Ok(Response::Keys(cut(rest.collect(), len)))
    }

    fn export(
        &mut self,
        now: Timestamp,
        key: &KeyRef,
        wrapping: &KeyRef,
        algorithm: Algorithm,
    ) -> Result<Response> {
        let under = self.usable(now, wrapping, Usage::Export)?;
        let (found, at) = self.version(key)?;
        let target = found.versions[at].clone();
        if lifecycle::state_at(now, &target.attributes) != State::Active {
            return Err(refuse(ErrorKind::KeyState, "not active"));
        }
        if !target.attributes.spec.exportable {
            return Err(refuse(ErrorKind::Denied, "it never leaves"));
        }
        check_transport(&under, algorithm)?;
        let bytes = self.remember(Made {
            spec: Some(target.attributes.spec),
            ..Made::new(Operation::Wrap, algorithm, &under, &target.material)
        });
        Ok(Response::Wrapped {
            bytes,
            version: under.id,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the request")]
    fn import(
        &mut self,
        now: Timestamp,
        name: KeyName,
        new: &NewKeyParameters,
        wrapping: &KeyRef,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
    ) -> Result<Response> {
        let under = self.usable(now, wrapping, Usage::Import)?;
        self.create(now, name, new, Origin::Imported, |world| {
            check_transport(&under, algorithm)?;
            if format != WrappedFormat::Bound {
                return Err(refuse(ErrorKind::Unsupported, "keys of other systems"));
            }
            let made = world.recall(wrapped, Operation::Wrap, algorithm, &under)?;
            let named = made.spec.ok_or_else(Error::crypto)?;
            let wider = new.spec.key_type != named.key_type
                || !new.spec.usages.is_subset_of(named.usages)
                || (named.algorithm.is_some() && new.spec.algorithm != named.algorithm)
                || (new.spec.exportable && !named.exportable);
            match wider {
                true => Err(refuse(ErrorKind::Denied, "more than it was")),
                false => Ok(made.input),
            }
        })
    }

    /// Signs, encrypts and so on.
    fn operate(&mut self, now: Timestamp, request: Request<'_>) -> Result<Response> {
        match request {
            Request::Sign {
                key,
                algorithm,
                input,
            } => {
                let key = self.ready(now, &key, Usage::Sign, Operation::Sign, algorithm)?;
                let made = Made::new(Operation::Sign, algorithm, &key, &signed(input));
                Ok(Response::Signature {
                    bytes: self.remember(made),
                    version: key.id,
                })
            }
            Request::Verify {
                key,
                algorithm,
                input,
                signature,
            } => {
                let key = self.ready(now, &key, Usage::Verify, Operation::Sign, algorithm)?;
                let made = self.recall(signature, Operation::Sign, algorithm, &key)?;
                same(&made.input, &signed(input))
            }
            Request::Mac {
                key,
                algorithm,
                message,
            } => {
                let key = self.ready(now, &key, Usage::Sign, Operation::Mac, algorithm)?;
                let made = Made::new(Operation::Mac, algorithm, &key, message);
                Ok(Response::Signature {
                    bytes: self.remember(made),
                    version: key.id,
                })
            }
            Request::VerifyMac {
                key,
                algorithm,
                message,
                tag,
            } => {
                let key = self.ready(now, &key, Usage::Verify, Operation::Mac, algorithm)?;
                let made = self.recall(tag, Operation::Mac, algorithm, &key)?;
                same(&made.input, message)
            }
            Request::Encrypt {
                key,
                algorithm,
                plaintext,
                iv: _,
                aad,
            } => {
                let key = self.ready(now, &key, Usage::Encrypt, Operation::Encrypt, algorithm)?;
                let mut made = Made::new(Operation::Encrypt, algorithm, &key, plaintext);
                made.aad = aad.to_vec();
                let ciphertext = Ciphertext {
                    ciphertext: self.remember(made),
                    ..Ciphertext::default()
                };
                Ok(Response::Ciphertext {
                    ciphertext,
                    version: key.id,
                })
            }
            Request::Decrypt {
                key,
                algorithm,
                ciphertext,
                aad,
            } => {
                let key = self.ready(now, &key, Usage::Decrypt, Operation::Encrypt, algorithm)?;
                let bytes = ciphertext.ciphertext;
                let made = self.recall(bytes, Operation::Encrypt, algorithm, &key)?;
                same(&made.aad, aad)?;
                Ok(Response::Secret(made.input.into()))
            }
            Request::Wrap {
                key,
                algorithm,
                plaintext,
            } => {
                let key = self.ready(now, &key, Usage::WrapKey, Operation::Wrap, algorithm)?;
                let made = Made::new(Operation::Wrap, algorithm, &key, plaintext);
                Ok(Response::Wrapped {
                    bytes: self.remember(made),
                    version: key.id,
                })
            }
            Request::Unwrap {
                key,
                algorithm,
                wrapped,
            } => {
                let key = self.ready(now, &key, Usage::UnwrapKey, Operation::Wrap, algorithm)?;
                let made = self.recall(wrapped, Operation::Wrap, algorithm, &key)?;
                Ok(Response::Secret(made.input.into()))
            }
            Request::Agree {
                key,
                algorithm,
                peer,
            } => {
                let usage = Usage::DeriveBits;
                let key = self.ready(now, &key, usage, Operation::Agree, algorithm)?;
                let key_type = key.attributes.spec.key_type;
                if peer.key_type() != key_type {
                    return Err(refuse(ErrorKind::InvalidInput, "of another curve"));
                }
                let made = Made::new(Operation::Agree, algorithm, &key, peer.as_raw());
                let number = self.number(made);
                Ok(Response::Secret(stretch(number, key_type.byte_len())))
            }
            Request::Encapsulate { key, algorithm } => {
                let (usage, operation) = (Usage::Encapsulate, Operation::Encapsulate);
                let key = self.ready(now, &key, usage, operation, algorithm)?;
                let secret = self.next();
                let made = Made::new(operation, algorithm, &key, &secret.to_be_bytes());
                let encapsulated = Encapsulated {
                    ciphertext: encapsulation(self.number(made), algorithm),
                    secret: stretch(secret, SHARED_SECRET_LEN),
                };
                Ok(Response::Encapsulated {
                    encapsulated,
                    version: key.id,
                })
            }
            Request::Decapsulate {
                key,
                algorithm,
                ciphertext,
            } => {
                let (usage, operation) = (Usage::Decapsulate, Operation::Encapsulate);
                let key = self.ready(now, &key, usage, operation, algorithm)?;
                if Some(ciphertext.len()) != algorithm.encapsulation_len() {
                    return Err(refuse(ErrorKind::InvalidInput, "of another length"));
                }
                let secret = self.shared(&key, algorithm, ciphertext);
                Ok(Response::Secret(stretch(secret, SHARED_SECRET_LEN)))
            }
            Request::Derive {
                key,
                algorithm,
                salt_or_label,
                info_or_context,
                len,
            } => {
                let usage = Usage::DeriveKey;
                let key = self.ready(now, &key, usage, Operation::Derive, algorithm)?;
                if len == 0 {
                    return Err(refuse(ErrorKind::InvalidInput, "nothing to derive"));
                }
                let mut made = Made::new(Operation::Derive, algorithm, &key, salt_or_label);
                made.aad = info_or_context.to_vec();
                let number = self.number(made);
                Ok(Response::Secret(stretch(number, len)))
            }
            _ => Err(refuse(ErrorKind::Unsupported, "the model does not know it")),
        }
    }

    /// The number of the secret that `ciphertext` encapsulates to `key`. One that was not made for the key stands for a
    /// secret of its own.
    fn shared(&mut self, key: &Version, algorithm: Algorithm, ciphertext: &[u8]) -> u128 {
        let sent = self.made.iter().zip(MADE..).find_map(|(made, number)| {
            let to_it = made.by == Operation::Encapsulate && made.material == key.material;
            let secret = made.input.as_slice().try_into().ok()?;
            (to_it && encapsulation(number, algorithm) == ciphertext)
                .then_some(u128::from_be_bytes(secret))
        });
        sent.unwrap_or_else(|| {
            self.number(Made::new(
                Operation::Encapsulate,
                algorithm,
                key,
                ciphertext,
            ))
        })
    }

    /// The version, if its state and usages allow `usage` and the algorithm is right.
    fn ready(
        &mut self,
        now: Timestamp,
        key: &KeyRef,
        usage: Usage,
        operation: Operation,
        algorithm: Algorithm,
    ) -> Result<Version> {
        let version = self.usable(now, key, usage)?;
        version.attributes.spec.check(operation, algorithm)?;
        Ok(version)
    }

    fn usable(&mut self, now: Timestamp, key: &KeyRef, usage: Usage) -> Result<Version> {
        let (found, at) = self.version(key)?;
        let version = &found.versions[at];
        let state = lifecycle::state_at(now, &version.attributes);
        let given = version.attributes.spec.usages.contains(usage);
        match given && lifecycle::allows(state, usage) {
            true => Ok(version.clone()),
            false => Err(refuse(
                ErrorKind::KeyState,
                "not in this state, or not for this",
            )),
        }
    }

    fn version(&mut self, which: &KeyRef) -> Result<(&mut Key, usize)> {
        let key = self.live(&which.name)?;
        let at = match which.version {
            None => key.versions.len() - 1,
            Some(wanted) => {
                let mut ids = key.versions.iter().map(|version| version.id);
                ids.position(|id| id == wanted).ok_or_else(nowhere)?
            }
        };
        Ok((key, at))
    }

    fn live(&mut self, name: &KeyName) -> Result<&mut Key> {
        let found = self.keys.get_mut(name);
        found
            .filter(|key| key.deletion.is_none())
            .ok_or_else(nowhere)
    }

    fn deleted(&mut self, name: &KeyName) -> Result<&mut Key> {
        let found = self.keys.get_mut(name);
        found
            .filter(|key| key.deletion.is_some())
            .ok_or_else(nowhere)
    }

    fn next_version(&mut self) -> VersionId {
        VersionId::from_bytes(self.next().to_be_bytes())
    }

    /// The number that stands for what was made.
    fn number(&mut self, made: Made) -> u128 {
        let known = self.made.iter().position(|other| *other == made);
        let at = known.unwrap_or_else(|| {
            self.made.push(made);
            self.made.len() - 1
        });
        MADE + at as u128
    }

    fn remember(&mut self, made: Made) -> Vec<u8> {
        self.number(made).to_be_bytes().to_vec()
    }

    /// What `bytes` stand for, if they were made so, with this key.
    fn recall(
        &self,
        bytes: &[u8],
        by: Operation,
        algorithm: Algorithm,
        key: &Version,
    ) -> Result<Made> {
        let number = bytes.try_into().map(u128::from_be_bytes).ok();
        let at = number.and_then(|number| usize::try_from(number.checked_sub(MADE)?).ok());
        let made = at.and_then(|at| self.made.get(at)).filter(|made| {
            (made.by, made.algorithm, &made.material) == (by, algorithm, &key.material)
        });
        made.cloned().ok_or_else(Error::crypto)
    }
}

impl Key {
    pub(super) const fn is_deleted(&self) -> bool {
        self.deletion.is_some()
    }

    fn last(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let current = &self.last().attributes;
        let by_policy = self
            .rotation
            .as_ref()
            .and_then(|policy| policy.next_rotation(current.created, current.expires));
        let due = by_policy.map(|due| self.retry.unwrap_or(due));
        self.deletion.is_none() && due.is_some_and(|due| due <= now)
    }

    fn current(&self, name: &KeyName) -> Response {
        self.info(name, self.versions.len() - 1)
    }

    fn info(&self, name: &KeyName, at: usize) -> Response {
        Response::Key(Box::new(self.describe(name, at)))
    }

    fn describe(&self, name: &KeyName, at: usize) -> KeyInfo {
        let version = &self.versions[at];
        let mut info = KeyInfo::new(name.clone(), version.id, version.attributes.clone(), None);
        info.deletion = self.deletion;
        info
    }
}

impl Made {
    fn new(by: Operation, algorithm: Algorithm, key: &Version, input: &[u8]) -> Self {
        Self {
            by,
            algorithm,
            material: key.material.clone(),
            input: input.to_vec(),
            aad: Vec::new(),
            spec: None,
        }
    }
}

pub(super) fn page_len(page: &PageRequest) -> Result<usize> {
    match page.limit {
        None => Ok(PAGE_LEN_DEFAULT),
        Some(0) => Err(refuse(ErrorKind::InvalidInput, "an empty page")),
        Some(len) if len > PAGE_LEN_MAX => Err(refuse(ErrorKind::LimitExceeded, "a long page")),
        Some(len) => Ok(len),
    }
}

/// The first page of what is left.
pub(super) fn cut<T>(mut rest: Vec<(String, T)>, len: usize) -> Page<T> {
    let more = rest.len() > len;
    rest.truncate(len);
    let next = rest.last().map(|(name, _)| name.clone()).filter(|_| more);
    let items = rest.into_iter().map(|(_, item)| item).collect();
    Page { items, next }
}

/// Keys go out and in under AES-KWP and its like.
fn check_transport(under: &Version, algorithm: Algorithm) -> Result<()> {
    let transports = matches!(
        algorithm,
        Algorithm::A128Kwp | Algorithm::A192Kwp | Algorithm::A256Kwp | Algorithm::RsaAesKwp
    );
    let spec = under.attributes.spec;
    match transports && algorithm.fits(spec.key_type) {
        true => spec.check_only(algorithm),
        false => Err(refuse(
            ErrorKind::InvalidInput,
            "does not take keys out or in",
        )),
    }
}

fn signed(input: SignInput<'_>) -> Vec<u8> {
    let kind = match input {
        SignInput::Digest(_) => 0,
        SignInput::Message(_) => 1,
    };
    [&[kind], input.as_bytes()].concat()
}

fn same(made: &[u8], shown: &[u8]) -> Result<Response> {
    match made == shown {
        true => Ok(Response::Done),
        false => Err(Error::crypto()),
    }
}

/// A secret of `len` bytes, another for every number.
fn stretch(number: u128, len: usize) -> SecretBytes {
    let bytes = number.to_be_bytes();
    SecretBytes::from(bytes.into_iter().cycle().take(len).collect::<Vec<_>>())
}

/// What the number is as a ciphertext of `algorithm`.
fn encapsulation(number: u128, algorithm: Algorithm) -> Vec<u8> {
    let len = algorithm.encapsulation_len().unwrap_or_default();
    stretch(number, len).expose().to_vec()
}

fn nowhere() -> Error {
    refuse(ErrorKind::NotFound, "there is none")
}

/// Where the numbers of what was made begin: far from those of everything else.
const MADE: u128 = 1 << 100;

/// Length of a shared secret, in bytes (FIPS 203 table 3).
const SHARED_SECRET_LEN: usize = 32;

const DAY: u64 = Duration::from_hours(24).as_secs();
