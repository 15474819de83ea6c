//! Keys that come from outside: read here, and wrapped for the root key at once, so that they cross to the TPM as a
//! duplicate (TPM 2.0 Library part 1, section 23.3) and never in clear.

use hmac::Mac;
use hsm_core::key::KeyMaterial;
use hsm_core::limits::KEY_MATERIAL_LEN_MAX;
use hsm_core::{Error, ErrorKind, KeySpec, KeyType, Result, SecretBytes};
use pkcs8::DecodePrivateKey;
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::failure::{failed, invalid};
use crate::kdf::{self, CIPHER_LEN, DIGEST_LEN};
use crate::root::{RootPublic, object_name};
use crate::sealed::Auth;
use crate::template::{self, Origin};
use crate::wire::Writer;

/// What `TPM2_Import` takes.
pub(crate) struct Duplicate {
    /// The `TPMT_PUBLIC` of the key.
    pub(crate) public: Vec<u8>,
    /// The bytes of the `TPM2B_PRIVATE`: a MAC, and the encrypted private half.
    pub(crate) private: Vec<u8>,
    /// The seed of both, for the root key only.
    pub(crate) seed: Vec<u8>,
}

/// Reads `material` as a key of `spec`, and wraps it for the root key.
pub(crate) fn wrap(
    material: &SecretBytes,
    spec: &KeySpec,
    auth: &Auth,
    policy: &[u8],
    root: &RootPublic,
) -> Result<Duplicate> {
    let key = Parts::read(spec.key_type, material.expose())?;
    let (public, sensitive) = key.areas(spec, auth, policy)?;
    let name = object_name(&public);
    let (seed, encrypted_seed) = root.share_secret("DUPLICATE")?;
    // A key that encrypts one message needs no IV.
    let cipher_key = kdf::kdfa::<CIPHER_LEN>(&*seed, "STORAGE", [&name, &[]]);
    let mac_key = kdf::kdfa::<DIGEST_LEN>(&*seed, "INTEGRITY", [&[], &[]]);
    let mut encrypted = Writer::new();
    encrypted.sized(sensitive.as_slice());
    kdf::encrypt(&cipher_key, &[0; CIPHER_LEN], encrypted.as_mut_slice());
    let mac = kdf::hmac(&*mac_key)
        .chain_update(encrypted.as_slice())
        .chain_update(name)
        .finalize();
    let mut private = Writer::new();
    private.sized(&mac.into_bytes()).bytes(encrypted.as_slice());
    Ok(Duplicate {
        public,
        private: private.as_slice().to_vec(),
        seed: encrypted_seed,
    })
}

/// A key as the TPM's structures have it.
enum Parts {
    Ec {
        point: Vec<u8>,
        scalar: SecretBytes,
    },
    Rsa {
        modulus: Vec<u8>,
        prime: SecretBytes,
    },
    Symmetric(SecretBytes),
}

impl Parts {
    fn read(key_type: KeyType, material: &[u8]) -> Result<Self> {
        if material.len() > KEY_MATERIAL_LEN_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the key has {} bytes, at most {KEY_MATERIAL_LEN_MAX} are allowed",
                    material.len()
                ),
            ));
        }
        if !key_type.is_asymmetric() {
            if material.len() != key_type.byte_len() {
                return Err(invalid(format!(
                    "a key of type {key_type} is {} bytes long, not {}",
                    key_type.byte_len(),
                    material.len()
                )));
            }
            return Ok(Self::Symmetric(SecretBytes::copy_from(material)));
        }
        if KeyMaterial::from_pkcs8_der(material)?.key_type() != Some(key_type) {
            return Err(not_pkcs8(key_type));
        }
        match key_type {
            KeyType::EcP256 => {
                let key = p256::SecretKey::from_pkcs8_der(material);
                let key = key.map_err(|_| not_pkcs8(key_type))?;
                Ok(Self::Ec {
                    point: key.public_key().to_sec1_bytes().into_vec(),
                    scalar: SecretBytes::copy_from(&key.to_bytes()),
                })
            }
            KeyType::EcP384 => {
                let key = p384::SecretKey::from_pkcs8_der(material);
                let key = key.map_err(|_| not_pkcs8(key_type))?;
                Ok(Self::Ec {
                    point: key.public_key().to_sec1_bytes().into_vec(),
                    scalar: SecretBytes::copy_from(&key.to_bytes()),
                })
            }
            KeyType::EcP521 => {
                let key = p521::SecretKey::from_pkcs8_der(material);
                let key = key.map_err(|_| not_pkcs8(key_type))?;
                Ok(Self::Ec {
                    point: key.public_key().to_sec1_bytes().into_vec(),
                    scalar: SecretBytes::copy_from(&key.to_bytes()),
                })
            }
            _ => Self::read_rsa(key_type, material),
        }
    }

    fn read_rsa(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let key = RsaPrivateKey::from_pkcs8_der(material).map_err(|_| not_pkcs8(key_type))?;
        if key.e().to_be_bytes_trimmed_vartime()[..] != [1, 0, 1] {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a TPM takes RSA keys with the public exponent 65537 only",
            ));
        }
        // The crate computes the CRT parameters and drops those that came in.
        let computed = key.to_pkcs1_der().map_err(|_| not_pkcs8(key_type))?;
        let info = pkcs8::PrivateKeyInfoRef::try_from(material).map_err(|_| not_pkcs8(key_type))?;
        if !bool::from(computed.as_bytes().ct_eq(info.private_key.as_bytes())) {
            return Err(invalid("the parts of the RSA key do not fit together"));
        }
        let [first, _] = key.primes() else {
            return Err(not_pkcs8(key_type));
        };
        let len = key_type.byte_len() / 2;
        let prime = SecretBytes::from(first.to_be_bytes().into_vec());
        let zeros = prime.expose().iter().take_while(|byte| **byte == 0).count();
        let significant = &prime.expose()[zeros..];
        if significant.len() != len {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a TPM takes RSA keys whose primes have half the bits of the modulus only",
            ));
        }
        let mut modulus = Vec::new();
        let found = key.n().to_be_bytes_trimmed_vartime();
        template::pad_into(&mut modulus, &found, key_type.byte_len())
            .map_err(|_| not_pkcs8(key_type))?;
        Ok(Self::Rsa {
            modulus,
            prime: SecretBytes::copy_from(significant),
        })
    }

    /// The `TPMT_PUBLIC` and the `TPMT_SENSITIVE`.
    fn areas(&self, spec: &KeySpec, auth: &Auth, policy: &[u8]) -> Result<(Vec<u8>, Writer)> {
        let mut obfuscation = SecretBytes::init_with(0, |_| {});
        if let Self::Symmetric(_) = self {
            obfuscation = SecretBytes::try_init_with(DIGEST_LEN, |out| {
                getrandom::fill(out).map_err(|_| failed("the system has no random numbers"))
            })?;
        }
        let unique = |out: &mut Writer| match self {
            Self::Ec { point, .. } => {
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                out.sized(x).sized(y);
            }
            Self::Rsa { modulus, .. } => {
                out.sized(modulus);
            }
            Self::Symmetric(key) => {
                let digest = Sha256::new()
                    .chain_update(obfuscation.expose())
                    .chain_update(key.expose());
                out.sized(&digest.finalize());
            }
        };
        let lacking = || Error::new(ErrorKind::Unsupported, "no TPM has keys of this type");
        let public = template::public(spec, Origin::Import, policy, unique).ok_or_else(lacking)?;
        let kind = template::object_type(spec.key_type).ok_or_else(lacking)?;
        let mut sensitive = Writer::new();
        sensitive
            .u16(kind.value())
            .sized(auth.as_bytes())
            .sized(obfuscation.expose())
            .sized(match self {
                Self::Ec { scalar, .. } => scalar.expose(),
                Self::Rsa { prime, .. } => prime.expose(),
                Self::Symmetric(key) => key.expose(),
            });
        Ok((public.as_slice().to_vec(), sensitive))
    }
}

fn not_pkcs8(key_type: KeyType) -> Error {
    invalid(format!(
        "not exactly one private key of type {key_type} in PKCS#8 DER"
    ))
}
