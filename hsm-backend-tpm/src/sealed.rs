//! What a sealed key of a TPM is, to the byte: `docs/tpm.md`. And the authorization value that ties it to its spec and
//! its binding.

use hsm_core::key::header::{self, HEADER_LEN};
use hsm_core::{Binding, KeySpec, PcrSelection, PublicKey, Result, SealedKey};
use sha2::{Digest, Sha256};

use crate::failure::damaged;
use crate::kdf::DIGEST_LEN;
use crate::root::object_name;
use crate::template;
use crate::wire::{Malformed, Reader, Writer};

/// A key as the TPM gave it out: what to load, and the value that authorizes its use.
pub(crate) struct Blob {
    pub(crate) spec: KeySpec,
    /// The `TPMT_PUBLIC`.
    pub(crate) public: Vec<u8>,
    /// The bytes of the `TPM2B_PRIVATE`.
    pub(crate) private: Vec<u8>,
    pub(crate) auth: Auth,
}

impl Blob {
    /// Takes a sealed key apart. Whether it is whole, and belongs to `binding`, the TPM will say.
    pub(crate) fn open(sealed: &SealedKey, binding: &Binding) -> Result<Self> {
        let rejected = || damaged("the sealed key is not one that a TPM device made");
        let (spec, rest) = decode(sealed.as_bytes()).ok_or_else(rejected)?;
        let mut reader = Reader::new(rest);
        let mut parts = || -> Result<(&[u8], &[u8]), Malformed> {
            let parts = (reader.sized()?, reader.sized()?);
            reader.end()?;
            Ok(parts)
        };
        let (public, private) = parts().map_err(|_| rejected())?;
        Ok(Self {
            spec,
            public: public.to_vec(),
            private: private.to_vec(),
            auth: Auth::new(&spec, binding),
        })
    }

    /// The sealed key.
    pub(crate) fn seal(&self) -> Result<SealedKey> {
        let mut out = Writer::new();
        out.bytes(&encode(&self.spec))
            .sized(&self.public)
            .sized(&self.private);
        SealedKey::new(out.as_slice())
    }

    /// The name that the TPM gives the object.
    pub(crate) fn name(&self) -> Vec<u8> {
        object_name(&self.public).to_vec()
    }

    /// The public key, of an asymmetric key.
    pub(crate) fn public_key(&self) -> Result<Option<PublicKey>> {
        template::public_key(self.spec.key_type, &self.public)
            .map_err(|_| damaged("the public half of the sealed key is not of its type"))
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// The authorization value of an object: a digest of what the key is and of what it is tied to. The TPM keeps it with the
/// private half, under the root key, so neither can be changed without the other.
#[derive(Clone, Copy)]
pub(crate) struct Auth([u8; DIGEST_LEN]);

impl Auth {
    pub(crate) fn new(spec: &KeySpec, binding: &Binding) -> Self {
        let digest = Sha256::new()
            .chain_update(b"hsm tpm auth v1")
            .chain_update(encode(spec))
            .chain_update(binding.as_bytes());
        Self(digest.finalize().into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What stands in front of a sealed key and is in its authorization value: the header of all devices, and the registers of
/// the boot state, if the key is tied to one.
fn encode(spec: &KeySpec) -> Vec<u8> {
    let mut head = header::encode(spec).to_vec();
    if let Some(registers) = spec.boot_state {
        head[FLAGS_AT] |= FLAG_BOOT_STATE;
        head.extend_from_slice(&registers.bits().to_be_bytes()[1..]);
    }
    head
}

/// Splits what [`encode`] made, and what follows it.
fn decode(bytes: &[u8]) -> Option<(KeySpec, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let mut head = *head;
    let is_bound = head[FLAGS_AT] & FLAG_BOOT_STATE != 0;
    head[FLAGS_AT] &= !FLAG_BOOT_STATE;
    let (spec, _) = header::decode(&head)?;
    if !is_bound {
        return Some((spec, rest));
    }
    let ([high, middle, low], rest) = rest.split_first_chunk()?;
    let registers = PcrSelection::from_bits(u32::from_be_bytes([0, *high, *middle, *low]))?;
    Some((spec.in_boot_state(registers), rest))
}

/// Where the flags of a header are, and the one of this device.
const FLAGS_AT: usize = 4;
const FLAG_BOOT_STATE: u8 = 2;

#[cfg(test)]
mod tests {
    use hsm_core::{Algorithm, KeyType, Usage, Usages};

    use super::*;

    fn spec() -> KeySpec {
        let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
        KeySpec::new(KeyType::HmacSha256, usages).unwrap()
    }

    fn registers(bits: u32) -> PcrSelection {
        PcrSelection::from_bits(bits).unwrap()
    }

    #[test]
    fn a_boot_state_stands_after_the_header() {
        let bound = spec().in_boot_state(registers(0x80_0001));
        let head = encode(&bound);
        assert_eq!(head, [1, 40, 0, 3, 2, 0, 0x80, 0, 1]);
        assert_eq!(decode(&head), Some((bound, &[][..])));
        for len in 0..head.len() {
            assert_eq!(decode(&head[..len]), None, "{len}");
        }
        assert_eq!(decode(&[1, 40, 0, 3, 2, 0, 0, 0, 0]), None, "no register");
        assert_eq!(decode(&[1, 40, 0, 3, 4, 0, 0, 0, 1]), None, "another flag");
    }

    #[test]
    fn what_is_sealed_is_opened() {
        let binding = Binding::new("test", b"");
        let spec = spec().exportable().only(Algorithm::Hs256).unwrap();
        let blob = Blob {
            spec,
            public: b"public".to_vec(),
            private: b"private".to_vec(),
            auth: Auth::new(&spec, &binding),
        };
        let sealed = blob.seal().unwrap();
        assert_eq!(sealed.as_bytes()[..8], [1, 40, 0, 3, 1, 60, 0, 6]);
        let opened = Blob::open(&sealed, &binding).unwrap();
        assert_eq!(opened.spec, spec);
        assert_eq!((opened.public, opened.private), (blob.public, blob.private));
        for len in 0..sealed.as_bytes().len() {
            let cut = SealedKey::new(&sealed.as_bytes()[..len]).unwrap();
            assert!(Blob::open(&cut, &binding).is_err(), "{len}");
        }
    }

    #[test]
    fn spec_and_binding_both_change_the_authorization() {
        let (one, two) = (Binding::new("test", b"1"), Binding::new("test", b"2"));
        let narrow = spec().without_usages(Usages::of(&[Usage::Sign])).unwrap();
        let auths = [
            Auth::new(&spec(), &one),
            Auth::new(&spec(), &two),
            Auth::new(&narrow, &one),
            Auth::new(&spec().exportable(), &one),
            Auth::new(&spec().in_boot_state(registers(1)), &one),
            Auth::new(&spec().in_boot_state(registers(2)), &one),
        ];
        for (at, auth) in auths.iter().enumerate() {
            assert!(auths[..at].iter().all(|other| other.0 != auth.0), "{at}");
        }
    }
}
