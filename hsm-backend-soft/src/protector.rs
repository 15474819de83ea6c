//! [`Protector`] and [`ProtectorFile`]: how the domain key rests on disk. Bytes in, bytes out; [`root`](crate::root)
//! does the reading and writing. The format stands in `docs/sealed_key.md`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hsm_core::limits::{SEALED_SECRET_LEN_MAX, SEALER_NAME_LEN_MAX};
use hsm_core::{Error, ErrorKind, Result, RootSealer, SecretBytes};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{damaged, failed, invalid};
use crate::seal::{derive_key, unwrap, wrap};

/// What stands between somebody who reads the disk and the domain key.
///
/// A device can have one of each kind, and opens with any of them: hardware for every day, and a passphrase in a safe for the
/// day on which the hardware says no.
#[non_exhaustive]
pub enum Protector {
    /// A file of 32 random bytes that only its owner can read. Made if it does not exist.
    ///
    /// Keep it on another medium than the keys: who has both has everything. A file that its group or others can read
    /// is refused.
    KeyFile(PathBuf),
    /// A passphrase, stretched with argon2id. Opening takes about a tenth of a second and 64 MiB, on purpose.
    Passphrase(SecretBytes),
    /// Hardware, such as a TPM: the device opens on this machine only. Have a passphrase besides, or what ends the hardware
    /// (and for a TPM, other firmware) ends every key.
    Sealer(Arc<dyn RootSealer>),
}

impl Protector {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> ProtectorKind {
        match self {
            Self::KeyFile(_) => ProtectorKind::KeyFile,
            Self::Passphrase(_) => ProtectorKind::Passphrase,
            Self::Sealer(_) => ProtectorKind::Sealer,
        }
    }
}

/// Says which kind it is and nothing more; a passphrase does not even show its length.
impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Passphrase(_) => f.debug_tuple("Passphrase").finish_non_exhaustive(),
            Self::Sealer(sealer) => f.debug_tuple("Sealer").field(&sealer.name()).finish(),
        }
    }
}

/// A kind of [`Protector`]. A device has at most one of each.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ProtectorKind {
    /// [`Protector::Passphrase`].
    Passphrase,
    /// [`Protector::KeyFile`].
    KeyFile,
    /// [`Protector::Sealer`].
    Sealer,
}

/// With its article, as messages have it. Hardware has a name of its own, which only the file knows.
impl fmt::Display for ProtectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "a passphrase",
            Self::KeyFile => "a key file",
            Self::Sealer => "hardware",
        })
    }
}

/// The contents of a protector file: for each protector the domain key, wrapped, and how to unwrap it.
///
/// ```
/// use hsm_backend_soft::ProtectorFile;
/// use hsm_core::ErrorKind;
///
/// let error = ProtectorFile::decode(b"something else").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Damaged);
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct ProtectorFile {
    /// In the order of their kinds, one of each at most; none once the device was zeroized.
    slots: Vec<Slot>,
}

/// The domain key under one protector.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Slot {
    lock: Lock,
    salt: [u8; SALT_LEN],
    domain_key: [u8; WRAPPED_LEN],
}

/// How a protector's secret is come by.
#[derive(Clone, Eq, PartialEq)]
enum Lock {
    Passphrase(Cost),
    KeyFile,
    /// A secret of its own, as the hardware has sealed it.
    Sealer {
        name: String,
        sealed: Vec<u8>,
    },
}

/// A protector with its secret at hand: what makes a slot, and opens it.
pub(crate) enum Unlocker<'a> {
    /// The bytes of the key file.
    KeyFile(&'a SecretBytes),
    /// The passphrase.
    Passphrase(&'a SecretBytes),
    /// What the hardware has sealed, and what it became.
    Sealer {
        name: &'static str,
        secret: &'a SecretBytes,
        sealed: &'a [u8],
    },
}

/// The cost parameters of argon2id (RFC 9106).
#[derive(Clone, Copy, Eq, PartialEq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl ProtectorFile {
    /// The tombstone of a zeroized device.
    pub(crate) const ZEROIZED: Self = Self { slots: Vec::new() };

    /// A file of these slots, of which the kinds differ.
    pub(crate) fn of(slots: Vec<Slot>) -> Self {
        let mut file = Self::ZEROIZED;
        slots.into_iter().for_each(|slot| file.put(slot));
        file
    }

    /// Adds a slot, or puts it in the place of that of its kind.
    pub(crate) fn put(&mut self, slot: Slot) {
        self.slots.retain(|old| old.kind() != slot.kind());
        self.slots.push(slot);
        self.slots.sort_by_key(Slot::kind);
    }

    /// Takes a slot away, unless it is the last.
    pub(crate) fn remove(&mut self, kind: ProtectorKind) -> Result<()> {
        let found = self.find(kind)?.kind();
        if self.slots.len() == 1 {
            return Err(Error::new(
                ErrorKind::Conflict,
                "this is the last protector: without it nothing would open the HSM; add another first",
            ));
        }
        self.slots.retain(|slot| slot.kind() != found);
        Ok(())
    }

    /// The slot that a protector of this kind opens.
    pub(crate) fn find(&self, kind: ProtectorKind) -> Result<&Slot> {
        let found = self.slots.iter().find(|slot| slot.kind() == kind);
        found.ok_or_else(|| {
            let message = format!(
                "this HSM opens with {}, not with {kind}",
                self.names().join(" or ")
            );
            Error::new(ErrorKind::Unauthenticated, message)
        })
    }

    /// What a hint for somebody whose protector says no is: with what else it opens.
    pub(crate) fn others(&self, kind: ProtectorKind) -> Option<String> {
        let others = Self {
            slots: self.slots.iter().filter(|slot| slot.kind() != kind).cloned().collect(),
        };
        (!others.slots.is_empty()).then(|| others.names().join(" or "))
    }

    fn names(&self) -> Vec<String> {
        let name = |slot: &Slot| match &slot.lock {
            Lock::Sealer { name, .. } => name.clone(),
            _ => slot.kind().to_string(),
        };
        self.slots.iter().map(name).collect()
    }

    /// The kinds of protectors that open the device.
    pub fn protectors(&self) -> impl Iterator<Item = ProtectorKind> + '_ {
        self.slots.iter().map(Slot::kind)
    }

    /// Whether this is what a zeroized device left behind.
    #[must_use]
    pub const fn is_zeroized(&self) -> bool {
        self.slots.is_empty()
    }

    /// Reads the bytes of a protector file.
    ///
    /// # Errors
    ///
    /// [`Damaged`](ErrorKind::Damaged) if they are not what [`encode`](Self::encode) made, or ask for more memory or time
    /// than any device does.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| damaged("this is not a protector file"))?;
        let (rest, checksum) = rest
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or_else(altered)?;
        if checksum[..] != Sha256::digest(&bytes[..bytes.len() - CHECKSUM_LEN])[..] {
            return Err(altered());
        }
        let (version, mut rest) = rest.split_first().ok_or_else(altered)?;
        if *version != VERSION {
            return Err(damaged(format!(
                "the protector file has version {version}, this release reads version {VERSION}"
            )));
        }
        let mut slots: Vec<Slot> = Vec::new();
        while !rest.is_empty() {
            let slot = Slot::decode(&mut rest)?;
            if slots.last().is_some_and(|last| last.kind() >= slot.kind()) {
                return Err(altered());
            }
            slots.push(slot);
        }
        Ok(Self { slots })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN_MAX);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        for slot in &self.slots {
            bytes.extend_from_slice(&slot.lock.encode());
            bytes.extend_from_slice(&slot.salt);
            bytes.extend_from_slice(&slot.domain_key);
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }
}

impl fmt::Debug for ProtectorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.is_zeroized() {
            true => "zeroized".to_owned(),
            false => self.names().join(", "),
        };
        write!(f, "ProtectorFile({names})")
    }
}

impl Slot {
    /// Wraps a domain key.
    pub(crate) fn protect(
        domain_key: &[u8],
        unlocker: &Unlocker<'_>,
        salt: [u8; SALT_LEN],
    ) -> Result<Self> {
        let lock = match unlocker {
            Unlocker::KeyFile(_) => Lock::KeyFile,
            Unlocker::Passphrase(_) => Lock::Passphrase(COST),
            Unlocker::Sealer { name, sealed, .. } => {
                if !is_name(name.as_bytes()) || !is_sealed(sealed) {
                    return Err(failed(format!(
                        "{name:?} sealed to {} bytes, which no protector file takes",
                        sealed.len()
                    )));
                }
                Lock::Sealer {
                    name: (*name).to_owned(),
                    sealed: sealed.to_vec(),
                }
            }
        };
        let key = lock.key(unlocker, &salt)?;
        let domain_key = wrap(&key, domain_key)?
            .try_into()
            .map_err(|_| failed("a domain key has 32 bytes"))?;
        Ok(Self {
            lock,
            salt,
            domain_key,
        })
    }

    /// Unwraps the domain key.
    pub(crate) fn unprotect(&self, unlocker: &Unlocker<'_>) -> Result<SecretBytes> {
        let key = self.lock.key(unlocker, &self.salt)?;
        unwrap(&key, &self.domain_key)
            .filter(|domain_key| domain_key.len() == DOMAIN_KEY_LEN)
            .ok_or_else(|| match self.lock {
                Lock::Passphrase(_) => unauthenticated("wrong passphrase"),
                Lock::KeyFile => unauthenticated("wrong key file"),
                // The hardware has found nothing wrong with its part.
                Lock::Sealer { .. } => altered(),
            })
    }

    /// What the hardware sealed, in the slot of one.
    pub(crate) fn sealed(&self) -> &[u8] {
        match &self.lock {
            Lock::Sealer { sealed, .. } => sealed,
            _ => &[],
        }
    }

    pub(crate) const fn kind(&self) -> ProtectorKind {
        match self.lock {
            Lock::Passphrase(_) => ProtectorKind::Passphrase,
            Lock::KeyFile => ProtectorKind::KeyFile,
            Lock::Sealer { .. } => ProtectorKind::Sealer,
        }
    }

    fn decode(rest: &mut &[u8]) -> Result<Self> {
        Ok(Self {
            lock: Lock::decode(rest)?,
            salt: *take(rest)?,
            domain_key: *take(rest)?,
        })
    }
}

impl Lock {
    fn decode(rest: &mut &[u8]) -> Result<Self> {
        Ok(match take(rest)? {
            [KIND_PASSPHRASE] => Self::Passphrase(Cost::decode(take(rest)?)?),
            [KIND_KEY_FILE] => Self::KeyFile,
            [KIND_SEALER] => {
                let [len] = *take(rest)?;
                let name = take_slice(rest, len.into())?;
                let len = u16::from_be_bytes(*take(rest)?);
                let sealed = take_slice(rest, len.into())?;
                let name = std::str::from_utf8(name).map_err(|_| altered())?;
                if !is_name(name.as_bytes()) || !is_sealed(sealed) {
                    return Err(altered());
                }
                Self::Sealer {
                    name: name.to_owned(),
                    sealed: sealed.to_vec(),
                }
            }
            _ => return Err(altered()),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Passphrase(cost) => {
                bytes.push(KIND_PASSPHRASE);
                bytes.extend_from_slice(&cost.encode());
            }
            Self::KeyFile => bytes.push(KIND_KEY_FILE),
            Self::Sealer { name, sealed } => {
                // No longer than their lengths tell: the limits are below.
                bytes.extend_from_slice(&[KIND_SEALER, name.len().to_le_bytes()[0]]);
                bytes.extend_from_slice(name.as_bytes());
                let [low, high, ..] = sealed.len().to_le_bytes();
                bytes.extend_from_slice(&[high, low]);
                bytes.extend_from_slice(sealed);
            }
        }
        bytes
    }

    /// The key that wraps the domain key. The whole head of the slot goes into it.
    fn key(
        &self,
        unlocker: &Unlocker<'_>,
        salt: &[u8; SALT_LEN],
    ) -> Result<Zeroizing<[u8; 32]>> {
        let head = self.encode();
        let derive = |secret: &[u8]| derive_key(secret, salt, &[INFO, &[VERSION], &head]);
        match (self, unlocker) {
            (Self::Passphrase(cost), Unlocker::Passphrase(passphrase)) => {
                let params = cost.params().ok_or_else(altered)?;
                let mut stretched = Zeroizing::new([0; 32]);
                // Its own memory argon2 leaves as it is, and the last of it gives the key away.
                let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into_with_memory(
                        passphrase.expose(),
                        salt,
                        stretched.as_mut_slice(),
                        &mut memory[..],
                    )
                    .map_err(|_| invalid("the passphrase is too long"))?;
                derive(stretched.as_slice())
            }
            (Self::KeyFile, Unlocker::KeyFile(bytes)) => derive(bytes.expose()),
            (Self::Sealer { .. }, Unlocker::Sealer { secret, .. }) => derive(secret.expose()),
            _ => Err(altered()),
        }
    }
}

impl Cost {
    /// Refuses what would take the machine down.
    fn decode(bytes: &[u8; COST_LEN]) -> Result<Self> {
        let number = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let cost = Self {
            memory_kib: number(0),
            passes: number(4),
            lanes: number(8),
        };
        if cost.memory_kib > COST_MAX.memory_kib
            || cost.passes > COST_MAX.passes
            || cost.lanes > COST_MAX.lanes
            || cost.params().is_none()
        {
            return Err(damaged(
                "the protector file asks for an argon2id cost out of bounds",
            ));
        }
        Ok(cost)
    }

    fn encode(self) -> [u8; COST_LEN] {
        let mut bytes = [0; COST_LEN];
        bytes[..4].copy_from_slice(&self.memory_kib.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.passes.to_be_bytes());
        bytes[8..].copy_from_slice(&self.lanes.to_be_bytes());
        bytes
    }

    fn params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()
    }
}

fn unauthenticated(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

fn altered() -> Error {
    damaged("the protector file was altered or cut off; restore it from a backup")
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk().ok_or_else(altered)?;
    *rest = left;
    Ok(taken)
}

fn take_slice<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len).ok_or_else(altered)?;
    *rest = left;
    Ok(taken)
}

fn is_name(name: &[u8]) -> bool {
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    (1..=SEALER_NAME_LEN_MAX).contains(&name.len()) && name.iter().all(printable)
}

fn is_sealed(sealed: &[u8]) -> bool {
    (1..=SEALED_SECRET_LEN_MAX).contains(&sealed.len())
}

/// Length of a salt, which is random for every slot that is written.
pub(crate) const SALT_LEN: usize = 32;

/// Length of the domain key.
pub(crate) const DOMAIN_KEY_LEN: usize = 32;

/// Length of the longest protector file: one with a slot of each kind.
pub(crate) const LEN_MAX: usize = MAGIC.len()
    + 1
    + (1 + COST_LEN)
    + 1
    + (1 + 1 + SEALER_NAME_LEN_MAX + 2 + SEALED_SECRET_LEN_MAX)
    + 3 * (SALT_LEN + WRAPPED_LEN)
    + CHECKSUM_LEN;

const WRAPPED_LEN: usize = DOMAIN_KEY_LEN + 8;
const COST_LEN: usize = 12;
const CHECKSUM_LEN: usize = 32;

const MAGIC: &[u8; 8] = b"hsm root";
const VERSION: u8 = 2;
const KIND_PASSPHRASE: u8 = 1;
const KIND_KEY_FILE: u8 = 2;
const KIND_SEALER: u8 = 3;
const INFO: &[u8] = b"hsm protector";

/// The second recommended option of RFC 9106 section 4.
const COST: Cost = Cost {
    memory_kib: 64 << 10,
    passes: 3,
    lanes: 4,
};

/// What a file may ask for: four times the memory and the passes that this release writes.
const COST_MAX: Cost = Cost {
    memory_kib: 4 * COST.memory_kib,
    passes: 4 * COST.passes,
    lanes: 16,
};

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN_KEY: [u8; 32] = [7; 32];

    fn secret(byte: u8) -> SecretBytes {
        SecretBytes::init_with(32, |bytes| bytes.fill(byte))
    }

    fn key_file() -> ProtectorFile {
        let unlocker = Unlocker::KeyFile(&secret(1));
        ProtectorFile::of(vec![
            Slot::protect(&DOMAIN_KEY, &unlocker, [2; 32]).unwrap(),
        ])
    }

    fn sealer<'a>(secret: &'a SecretBytes, sealed: &'a [u8]) -> Unlocker<'a> {
        Unlocker::Sealer {
            name: "the TPM",
            secret,
            sealed,
        }
    }

    fn two_slots() -> ProtectorFile {
        let mut file = ProtectorFile::of(vec![
            Slot::protect(&DOMAIN_KEY, &sealer(&secret(3), b"sealed"), [4; 32]).unwrap(),
        ]);
        file.slots.extend(key_file().slots);
        ProtectorFile::of(file.slots)
    }

    fn unprotect(file: &ProtectorFile, unlocker: &Unlocker<'_>) -> Result<SecretBytes> {
        let kind = match unlocker {
            Unlocker::KeyFile(_) => ProtectorKind::KeyFile,
            Unlocker::Passphrase(_) => ProtectorKind::Passphrase,
            Unlocker::Sealer { .. } => ProtectorKind::Sealer,
        };
        file.find(kind)?.unprotect(unlocker)
    }

    #[test]
    fn what_is_protected_comes_back_through_every_slot() {
        let file = two_slots();
        let read = ProtectorFile::decode(&file.encode()).unwrap();
        assert_eq!(read, file);
        let kinds: Vec<_> = read.protectors().collect();
        assert_eq!(kinds, [ProtectorKind::KeyFile, ProtectorKind::Sealer]);
        for unlocker in [
            Unlocker::KeyFile(&secret(1)),
            sealer(&secret(3), read.slots[1].sealed()),
        ] {
            let domain_key = unprotect(&read, &unlocker).unwrap();
            assert_eq!(domain_key.expose(), DOMAIN_KEY);
        }
    }

    #[test]
    fn another_secret_is_unauthenticated() {
        let file = two_slots();
        let error = unprotect(&file, &Unlocker::KeyFile(&secret(9))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(error.message(), "wrong key file");
        let error = unprotect(&file, &Unlocker::Passphrase(&secret(1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(
            error.message(),
            "this HSM opens with a key file or the TPM, not with a passphrase"
        );
        let error = unprotect(&file, &sealer(&secret(9), b"sealed")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }

    /// What the hardware sealed is part of the key, so another slot's does not do in its place.
    #[test]
    fn what_the_hardware_sealed_is_bound() {
        let mut file = two_slots();
        let Lock::Sealer { sealed, .. } = &mut file.slots[1].lock else {
            panic!("the second slot is the sealer's")
        };
        sealed[0] ^= 1;
        let error = unprotect(&file, &sealer(&secret(3), b"")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_slot_takes_the_place_of_its_kind_and_the_last_stays() {
        let mut file = two_slots();
        let new = Slot::protect(&DOMAIN_KEY, &Unlocker::KeyFile(&secret(5)), [6; 32]).unwrap();
        file.put(new);
        assert_eq!(file.slots.len(), 2);
        assert!(unprotect(&file, &Unlocker::KeyFile(&secret(1))).is_err());
        unprotect(&file, &Unlocker::KeyFile(&secret(5))).unwrap();

        let error = file.remove(ProtectorKind::Passphrase).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        file.remove(ProtectorKind::Sealer).unwrap();
        let error = file.remove(ProtectorKind::KeyFile).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(file.slots.len(), 1);
    }

    #[test]
    fn slots_in_another_order_or_twice_are_refused() {
        let mut file = two_slots();
        file.slots.reverse();
        assert!(ProtectorFile::decode(&file.encode()).is_err());
        let mut file = key_file();
        file.slots.extend(key_file().slots);
        assert!(ProtectorFile::decode(&file.encode()).is_err());
    }

    #[test]
    fn names_and_sealed_secrets_have_limits() {
        let secret = secret(1);
        for (name, len, fits) in [
            ("the TPM", 1, true),
            ("the TPM", SEALED_SECRET_LEN_MAX, true),
            ("the TPM", 0, false),
            ("the TPM", SEALED_SECRET_LEN_MAX + 1, false),
            ("", 1, false),
            ("a\nb", 1, false),
            ("a name that is longer than any other", 1, false),
        ] {
            let unlocker = Unlocker::Sealer {
                name,
                secret: &secret,
                sealed: &vec![1; len],
            };
            let slot = Slot::protect(&DOMAIN_KEY, &unlocker, [0; 32]);
            assert_eq!(slot.is_ok(), fits, "{name} {len}");
            if let Ok(slot) = slot {
                let bytes = ProtectorFile::of(vec![slot]).encode();
                assert!(bytes.len() <= LEN_MAX);
                ProtectorFile::decode(&bytes).unwrap();
            }
        }
    }

    #[test]
    fn every_bit_and_every_length_matters() {
        let bytes = two_slots().encode();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = ProtectorFile::decode(&altered).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "bit {bit}");
        }
        for len in 0..bytes.len() {
            let error = ProtectorFile::decode(&bytes[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{len} bytes");
        }
    }

    /// Somebody who can write the file can make its checksum right, and must gain nothing by it.
    #[test]
    fn a_hostile_cost_is_refused_before_it_is_paid() {
        let hostile = [
            (u32::MAX, 3, 4),
            (COST_MAX.memory_kib + 1, 3, 4),
            (65536, u32::MAX, 4),
            (65536, 3, 17),
            (0, 3, 4),
            (65536, 0, 4),
            (65536, 3, 0),
        ];
        for (memory_kib, passes, lanes) in hostile {
            let cost = Cost {
                memory_kib,
                passes,
                lanes,
            };
            let file = ProtectorFile::of(vec![Slot {
                lock: Lock::Passphrase(cost),
                salt: [0; 32],
                domain_key: [0; 40],
            }]);
            let error = ProtectorFile::decode(&file.encode()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.message().contains("argon2id"), "{error}");
        }
    }

    #[test]
    fn another_version_is_named() {
        for version in [1, 3] {
            let mut bytes = key_file().encode();
            bytes[8] = version;
            let end = bytes.len() - CHECKSUM_LEN;
            let checksum = Sha256::digest(&bytes[..end]);
            bytes[end..].copy_from_slice(&checksum);
            let error = ProtectorFile::decode(&bytes).unwrap_err();
            let named = format!("version {version}");
            assert!(error.message().contains(&named), "{error}");
        }
    }

    #[test]
    fn debug_hides_the_passphrase() {
        let protector = Protector::Passphrase(SecretBytes::copy_from(b"correct horse"));
        assert_eq!(format!("{protector:?}"), "Passphrase(..)");
        let file = format!("{:?}", two_slots());
        assert_eq!(file, "ProtectorFile(a key file, the TPM)");
    }
}
