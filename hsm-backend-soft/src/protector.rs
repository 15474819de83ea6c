//! [`Protector`] and [`ProtectorFile`]: how the domain key rests on disk. Bytes in, bytes out; [`root`](crate::root)
//! does the reading and writing. The format stands in `docs/sealed_key.md`.

use std::fmt;
use std::path::PathBuf;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hsm_core::{Error, ErrorKind, Result, SecretBytes};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{damaged, failed, invalid};
use crate::health::zeroized;
use crate::seal::{derive_key, unwrap, wrap};

/// What stands between somebody who reads the disk and the domain key.
#[non_exhaustive]
pub enum Protector {
    /// A file of 32 random bytes that only its owner can read. Made if it does not exist.
    ///
    /// Keep it on another medium than the keys: who has both has everything. A file that its group or others can read
    /// is refused.
    KeyFile(PathBuf),
    /// A passphrase, stretched with argon2id. Opening takes about a tenth of a second and 64 MiB, on purpose.
    Passphrase(SecretBytes),
}

/// Says which kind it is and nothing more; a passphrase does not even show its length.
impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Passphrase(_) => f.debug_tuple("Passphrase").finish_non_exhaustive(),
        }
    }
}

/// The contents of a protector file: the domain key, wrapped, and how to unwrap it.
///
/// ```
/// use hsm_backend_soft::ProtectorFile;
/// use hsm_core::ErrorKind;
///
/// let error = ProtectorFile::decode(b"something else").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Damaged);
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct ProtectorFile(Contents);

/// A protector with its secret at hand: what turns a [`ProtectorFile`] into a domain key and back.
pub(crate) enum Unlocker<'a> {
    /// The bytes of the key file.
    KeyFile(&'a SecretBytes),
    /// The passphrase.
    Passphrase(&'a SecretBytes),
}

#[derive(Clone, Eq, PartialEq)]
enum Contents {
    KeyFile { wrapped: Wrapped },
    Passphrase { cost: Cost, wrapped: Wrapped },
    Zeroized,
}

#[derive(Clone, Eq, PartialEq)]
struct Wrapped {
    salt: [u8; SALT_LEN],
    domain_key: [u8; WRAPPED_LEN],
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
    pub(crate) const ZEROIZED: Self = Self(Contents::Zeroized);

    /// Wraps a domain key.
    pub(crate) fn protect(
        domain_key: &[u8],
        unlocker: &Unlocker<'_>,
        salt: [u8; SALT_LEN],
    ) -> Result<Self> {
        let cost = match unlocker {
            Unlocker::KeyFile(_) => None,
            Unlocker::Passphrase(_) => Some(COST),
        };
        let key = unlocking_key(unlocker, cost, &salt)?;
        let domain_key = wrap(&key, domain_key)?
            .try_into()
            .map_err(|_| failed("a domain key has 32 bytes"))?;
        let wrapped = Wrapped { salt, domain_key };
        Ok(Self(match cost {
            None => Contents::KeyFile { wrapped },
            Some(cost) => Contents::Passphrase { cost, wrapped },
        }))
    }

    /// Unwraps the domain key.
    pub(crate) fn unprotect(&self, unlocker: &Unlocker<'_>) -> Result<SecretBytes> {
        let (cost, wrapped, wrong) = match (&self.0, unlocker) {
            (Contents::KeyFile { wrapped }, Unlocker::KeyFile(_)) => {
                (None, wrapped, "wrong key file")
            }
            (Contents::Passphrase { cost, wrapped }, Unlocker::Passphrase(_)) => {
                (Some(*cost), wrapped, "wrong passphrase")
            }
            (Contents::KeyFile { .. }, Unlocker::Passphrase(_)) => {
                return Err(unauthenticated(
                    "this HSM opens with a key file, not with a passphrase",
                ));
            }
            (Contents::Passphrase { .. }, Unlocker::KeyFile(_)) => {
                return Err(unauthenticated(
                    "this HSM opens with a passphrase, not with a key file",
                ));
            }
            (Contents::Zeroized, _) => return Err(zeroized()),
        };
        let key = unlocking_key(unlocker, cost, &wrapped.salt)?;
        unwrap(&key, &wrapped.domain_key)
            .filter(|domain_key| domain_key.len() == DOMAIN_KEY_LEN)
            .ok_or_else(|| unauthenticated(wrong))
    }

    /// Whether this is what a zeroized device left behind.
    #[must_use]
    pub fn is_zeroized(&self) -> bool {
        self.0 == Contents::Zeroized
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
        let ([version, kind], rest) = rest.split_first_chunk().ok_or_else(altered)?;
        if *version != VERSION {
            return Err(damaged(format!(
                "the protector file has version {version}, this release reads version {VERSION}"
            )));
        }
        Ok(Self(match *kind {
            KIND_ZEROIZED if rest.is_empty() => Contents::Zeroized,
            KIND_KEY_FILE => Contents::KeyFile {
                wrapped: Wrapped::decode(rest)?,
            },
            KIND_PASSPHRASE => {
                let (cost, rest) = rest.split_first_chunk().ok_or_else(altered)?;
                Contents::Passphrase {
                    cost: Cost::decode(cost)?,
                    wrapped: Wrapped::decode(rest)?,
                }
            }
            _ => return Err(altered()),
        }))
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN_MAX);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        match &self.0 {
            Contents::KeyFile { wrapped } => {
                bytes.push(KIND_KEY_FILE);
                wrapped.encode(&mut bytes);
            }
            Contents::Passphrase { cost, wrapped } => {
                bytes.push(KIND_PASSPHRASE);
                bytes.extend_from_slice(&cost.encode());
                wrapped.encode(&mut bytes);
            }
            Contents::Zeroized => bytes.push(KIND_ZEROIZED),
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }
}

impl fmt::Debug for ProtectorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Contents::KeyFile { .. } => "ProtectorFile(key file)",
            Contents::Passphrase { .. } => "ProtectorFile(passphrase)",
            Contents::Zeroized => "ProtectorFile(zeroized)",
        })
    }
}

impl Wrapped {
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (salt, domain_key) = bytes.split_first_chunk().ok_or_else(altered)?;
        Ok(Self {
            salt: *salt,
            domain_key: domain_key.try_into().map_err(|_| altered())?,
        })
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.domain_key);
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

/// The key that wraps the domain key. The whole head of the file goes into it.
fn unlocking_key(
    unlocker: &Unlocker<'_>,
    cost: Option<Cost>,
    salt: &[u8; SALT_LEN],
) -> Result<Zeroizing<[u8; 32]>> {
    match (unlocker, cost) {
        (Unlocker::Passphrase(passphrase), Some(cost)) => {
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
            let head = [VERSION, KIND_PASSPHRASE];
            derive_key(stretched.as_slice(), salt, &[INFO, &head, &cost.encode()])
        }
        (Unlocker::KeyFile(bytes), _) => {
            let head = [VERSION, KIND_KEY_FILE];
            derive_key(bytes.expose(), salt, &[INFO, &head])
        }
        (Unlocker::Passphrase(_), None) => Err(altered()),
    }
}

fn unauthenticated(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

fn altered() -> Error {
    damaged("the protector file was altered or cut off; restore it from a backup")
}

/// Length of a salt, which is random for every file that is written.
pub(crate) const SALT_LEN: usize = 32;

/// Length of the domain key.
pub(crate) const DOMAIN_KEY_LEN: usize = 32;

/// Length of the longest protector file.
pub(crate) const LEN_MAX: usize =
    MAGIC.len() + 2 + COST_LEN + SALT_LEN + WRAPPED_LEN + CHECKSUM_LEN;

const WRAPPED_LEN: usize = DOMAIN_KEY_LEN + 8;
const COST_LEN: usize = 12;
const CHECKSUM_LEN: usize = 32;

const MAGIC: &[u8; 8] = b"hsm root";
const VERSION: u8 = 1;
const KIND_ZEROIZED: u8 = 0;
const KIND_PASSPHRASE: u8 = 1;
const KIND_KEY_FILE: u8 = 2;
const INFO: &[u8] = b"hsm protector v1";

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

    fn key_file() -> (ProtectorFile, SecretBytes) {
        let bytes = SecretBytes::init_with(32, |bytes| bytes.fill(1));
        let file =
            ProtectorFile::protect(&DOMAIN_KEY, &Unlocker::KeyFile(&bytes), [2; 32]).unwrap();
        (file, bytes)
    }

    #[test]
    fn what_is_protected_comes_back() {
        let (file, bytes) = key_file();
        let read = ProtectorFile::decode(&file.encode()).unwrap();
        assert_eq!(read, file);
        let domain_key = read.unprotect(&Unlocker::KeyFile(&bytes)).unwrap();
        assert_eq!(domain_key.expose(), DOMAIN_KEY);
    }

    #[test]
    fn another_secret_is_unauthenticated() {
        let (file, bytes) = key_file();
        let other = SecretBytes::init_with(32, |bytes| bytes.fill(9));
        let error = file.unprotect(&Unlocker::KeyFile(&other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(error.message(), "wrong key file");
        let error = file.unprotect(&Unlocker::Passphrase(&bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }

    #[test]
    fn every_bit_and_every_length_matters() {
        let bytes = key_file().0.encode();
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
        let wrapped = Wrapped {
            salt: [0; 32],
            domain_key: [0; 40],
        };
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
            let wrapped = wrapped.clone();
            let file = ProtectorFile(Contents::Passphrase { cost, wrapped });
            let error = ProtectorFile::decode(&file.encode()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.message().contains("argon2id"), "{error}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = key_file().0.encode();
        bytes[8] = 2;
        let end = bytes.len() - CHECKSUM_LEN;
        let checksum = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum);
        let error = ProtectorFile::decode(&bytes).unwrap_err();
        assert!(error.message().contains("version 2"), "{error}");
    }

    #[test]
    fn debug_hides_the_passphrase() {
        let protector = Protector::Passphrase(SecretBytes::copy_from(b"correct horse"));
        assert_eq!(format!("{protector:?}"), "Passphrase(..)");
    }
}
