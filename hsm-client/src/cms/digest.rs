//! Digests of content that is read once, and how CMS names them (RFC 5754 section 2).

use std::io::{ErrorKind as IoErrorKind, Read};

use hsm_core::{Algorithm, Error, ErrorKind, Hash, Result};
use sha2::digest::DynDigest;
use sha2::{Digest, Sha256, Sha384, Sha512};
use spki::AlgorithmIdentifierOwned;
use x509_cert::der::Any;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912::{ID_SHA_256, ID_SHA_384, ID_SHA_512};

/// The hash that goes with a signature algorithm. Those that have none of their own get SHA-512 (RFC 8419 section 3.1,
/// RFC 9882 section 3.3).
pub(super) fn hash_of(algorithm: Algorithm) -> Hash {
    algorithm.hash().unwrap_or(Hash::Sha512)
}

/// A hash as CMS names it: without parameters.
pub(super) fn identifier(hash: Hash) -> Result<AlgorithmIdentifierOwned> {
    let known = HASHES.iter().find(|(known, _)| *known == hash);
    let (_, oid) = known.ok_or_else(|| unsupported(format!("{hash:?}")))?;
    Ok(AlgorithmIdentifierOwned {
        oid: *oid,
        parameters: None,
    })
}

/// The hash of an identifier, with NULL for parameters or without.
pub(super) fn named(identifier: &AlgorithmIdentifierOwned) -> Result<Hash> {
    let null = |parameters: &Any| parameters.is_null();
    let known = HASHES.iter().find(|(_, oid)| *oid == identifier.oid);
    match known {
        Some((hash, _)) if identifier.parameters.as_ref().is_none_or(null) => Ok(*hash),
        _ => Err(unsupported(identifier.oid.to_string())),
    }
}

/// The digests of one content, each computed once.
pub(super) struct Digests(Vec<(Hash, Box<[u8]>)>);

impl Digests {
    /// Reads all of the content.
    pub(super) fn read(mut content: impl Read, hashes: &[Hash]) -> Result<Self> {
        let mut running: Vec<(Hash, Box<dyn DynDigest>)> = Vec::new();
        for hash in hashes {
            if running.iter().all(|(known, _)| known != hash) {
                running.push((*hash, hasher(*hash)?));
            }
        }
        let mut buffer = vec![0; BUFFER_LEN];
        loop {
            let len = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == IoErrorKind::Interrupted => continue,
                Err(error) => {
                    let message = format!("the content cannot be read: {error}");
                    return Err(Error::new(ErrorKind::StoreFailed, message).with_source(error));
                }
            };
            for (_, hasher) in &mut running {
                hasher.update(&buffer[..len]);
            }
        }
        let digests = running
            .into_iter()
            .map(|(hash, hasher)| (hash, hasher.finalize()));
        Ok(Self(digests.collect()))
    }

    /// The digest of one of the hashes that were asked for; empty for another.
    pub(super) fn get(&self, hash: Hash) -> &[u8] {
        let found = self.0.iter().find(|(known, _)| *known == hash);
        found.map_or(&[], |(_, digest)| digest)
    }
}

fn hasher(hash: Hash) -> Result<Box<dyn DynDigest>> {
    match hash {
        Hash::Sha256 => Ok(Box::new(Sha256::new())),
        Hash::Sha384 => Ok(Box::new(Sha384::new())),
        Hash::Sha512 => Ok(Box::new(Sha512::new())),
        other => Err(unsupported(format!("{other:?}"))),
    }
}

fn unsupported(name: String) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("content is digested with SHA-256, SHA-384 or SHA-512, not with {name}"),
    )
}

const HASHES: [(Hash, ObjectIdentifier); 3] = [
    (Hash::Sha256, ID_SHA_256),
    (Hash::Sha384, ID_SHA_384),
    (Hash::Sha512, ID_SHA_512),
];
const BUFFER_LEN: usize = 64 << 10;
