//! A device of your own: ECDSA on P-256 and HMAC-SHA-256 in software, whose root is gone with the process. It passes the
//! conformance suite, and has just what an engine needs.
//!
//! `cargo run -p hsm-examples --bin own_backend`, and `cargo test -p hsm-examples --bin own_backend` for the suite.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, RwLock};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use async_trait::async_trait;
use hmac::{Hmac, Mac};
use hsm_client::kinds::EcdsaP256;
use hsm_client::{BuiltInRole, Hsm, Scope, SystemClock};
use hsm_core::{
    Algorithm, Binding, Capabilities, Device, Engine, Error, ErrorKind, KeySpec, KeyType,
    LoadedKey, NewKey, Operation, Parts, PublicKey, Result, SealedKey, SecretBytes, Settings,
    Setup, SignInput, Usage, Usages,
};
use hsm_store::{AuditLog, EmbeddedStore};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const NONCE_LEN: usize = 12;

/// What all keys are sealed under; `None` once it is zeroized. The device shares it with the keys that it loaded.
#[derive(Clone)]
struct Root(Arc<RwLock<Option<Zeroizing<[u8; 32]>>>>);

impl Root {
    fn cipher(&self) -> Result<Aes256Gcm> {
        let root = self
            .0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let root = root
            .as_ref()
            .ok_or_else(|| failed("the device was zeroized"))?;
        Ok(Aes256Gcm::new((&**root).into()))
    }

    /// AES-256-GCM over the key's spec and material. The binding is associated data: under another it does not open.
    fn seal(&self, spec: &KeySpec, binding: &Binding, material: &[u8]) -> Result<SealedKey> {
        let plaintext = postcard::to_allocvec(&(spec, material)).map(Zeroizing::new);
        let plaintext = plaintext.map_err(|_| failed("the key cannot be encoded"))?;
        // One root seals fewer than 2^32 keys, so that random nonces do not repeat (SP 800-38D section 8.3).
        let nonce: [u8; NONCE_LEN] = random()?;
        let payload = Payload {
            msg: &plaintext,
            aad: binding.as_bytes(),
        };
        let sealed = self.cipher()?.encrypt(&nonce.into(), payload);
        let sealed = sealed.map_err(|_| failed("the key cannot be sealed"))?;
        SealedKey::new([&nonce[..], &sealed].concat())
    }

    fn unseal(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
    ) -> Result<(KeySpec, Zeroizing<Vec<u8>>)> {
        let cipher = self.cipher()?;
        let open = || {
            let (nonce, sealed) = sealed.as_bytes().split_first_chunk::<NONCE_LEN>()?;
            let payload = Payload {
                msg: sealed,
                aad: binding.as_bytes(),
            };
            let plaintext = Zeroizing::new(cipher.decrypt(&(*nonce).into(), payload).ok()?);
            let (spec, material): (KeySpec, Vec<u8>) = postcard::from_bytes(&plaintext).ok()?;
            Some((spec, Zeroizing::new(material)))
        };
        open().ok_or_else(|| Error::new(ErrorKind::Damaged, "the sealed key is not this device's"))
    }
}

/// The device.
struct OwnDevice {
    root: Root,
    capabilities: Capabilities,
}

impl OwnDevice {
    fn new() -> Result<Self> {
        let root = Zeroizing::new(random()?);
        Ok(Self {
            root: Root(Arc::new(RwLock::new(Some(root)))),
            capabilities: Capabilities::new("own")
                .with_key_types([KeyType::EcP256, KeyType::HmacSha256])
                .with_algorithms([Algorithm::Es256, Algorithm::Hs256]),
        })
    }

    fn seal_new(&self, spec: &KeySpec, binding: &Binding, material: &[u8]) -> Result<NewKey> {
        Ok(NewKey {
            public: Secret::parse(spec.key_type, material)?.public()?,
            sealed: self.root.seal(spec, binding, material)?,
        })
    }
}

#[async_trait]
impl Device for OwnDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
        self.capabilities.check(spec.key_type, None)?;
        loop {
            // 32 bytes are a key of either type, unless they are no scalar of P-256: once in 2^32 times.
            let material = Zeroizing::new(random::<32>()?);
            if Secret::parse(spec.key_type, &*material).is_ok() {
                return self.seal_new(spec, binding, &*material);
            }
        }
    }

    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.root.cipher()?;
        self.capabilities.check(spec.key_type, None)?;
        if spec.key_type == KeyType::EcP256 {
            let key = SigningKey::from_pkcs8_der(material.expose());
            let key = key.map_err(|_| invalid("this is no P-256 key in PKCS#8"))?;
            return self.seal_new(spec, binding, &Zeroizing::new(key.to_bytes()));
        }
        self.seal_new(spec, binding, material.expose())
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        let (spec, material) = self.root.unseal(sealed, binding)?;
        let secret = Secret::parse(spec.key_type, &material)?;
        Ok(Arc::new(OwnKey {
            root: self.root.clone(),
            spec,
            public: secret.public()?,
            secret,
        }))
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        let (mut spec, material) = self.root.unseal(sealed, old)?;
        spec.usages = spec.usages.without(without);
        if spec.usages.is_empty() {
            return Err(invalid("a key needs at least one usage"));
        }
        self.root.seal(&spec, new, &material)
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        self.root.cipher()?;
        getrandom::fill(out).map_err(|_| failed("the system has no random numbers"))
    }

    async fn self_test(&self) -> Result<()> {
        self.root.cipher()?;
        // RFC 4231 section 4.3.
        let tag = hmac(b"Jefe")
            .chain_update(b"what do ya want for nothing?")
            .finalize();
        match tag.into_bytes()[..4] {
            [0x5b, 0xdc, 0xc1, 0x46] => Ok(()),
            _ => Err(failed("HMAC-SHA-256 does not give its known answer")),
        }
    }

    async fn zeroize(&self) -> Result<()> {
        *self
            .root
            .0
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        Ok(())
    }
}

enum Secret {
    Ec(SigningKey),
    Hmac(Zeroizing<Vec<u8>>),
}

impl Secret {
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        match key_type {
            KeyType::EcP256 => SigningKey::from_slice(material)
                .map(Self::Ec)
                .map_err(|_| invalid("this is no scalar of P-256")),
            _ if material.len() == 32 => Ok(Self::Hmac(material.to_vec().into())),
            _ => Err(invalid("a key for HMAC-SHA-256 has 32 bytes")),
        }
    }

    fn public(&self) -> Result<Option<PublicKey>> {
        let Self::Ec(key) = self else {
            return Ok(None);
        };
        let point = key.verifying_key().to_sec1_point(false);
        PublicKey::from_raw(KeyType::EcP256, point.as_bytes()).map(Some)
    }
}

/// A key in use. What is not here, the trait refuses.
struct OwnKey {
    root: Root,
    spec: KeySpec,
    public: Option<PublicKey>,
    secret: Secret,
}

impl OwnKey {
    /// Whether the key does this: the device lives, the algorithm fits, the usage is there.
    fn check(&self, operation: Operation, usage: Usage, algorithm: Algorithm) -> Result<()> {
        self.root.cipher()?;
        self.spec.check(operation, algorithm)?;
        if !self.spec.usages.contains(usage) {
            let message = format!("the key may not {}", usage.name());
            return Err(Error::new(ErrorKind::KeyState, message));
        }
        Ok(())
    }

    fn hmac(&self) -> Result<Hmac<Sha256>> {
        match &self.secret {
            Secret::Hmac(key) => Ok(hmac(key)),
            Secret::Ec(_) => Err(invalid("this key makes no MACs")),
        }
    }
}

#[async_trait]
impl LoadedKey for OwnKey {
    fn spec(&self) -> &KeySpec {
        &self.spec
    }

    fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        self.check(Operation::Sign, Usage::Sign, algorithm)?;
        let Secret::Ec(key) = &self.secret else {
            return Err(invalid("this key does not sign"));
        };
        let digest = match input {
            SignInput::Message(message) => Sha256::digest(message).to_vec(),
            SignInput::Digest(digest) if digest.len() == 32 => digest.to_vec(),
            SignInput::Digest(_) => return Err(invalid("a digest for ES256 has 32 bytes")),
        };
        let signature: Signature = key.sign_prehash(&digest).map_err(|_| Error::crypto())?;
        Ok(signature.to_bytes().to_vec())
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        self.check(Operation::Sign, Usage::Verify, algorithm)?;
        let public = self.public.as_ref().ok_or_else(Error::crypto)?;
        public.verify(algorithm, input, signature)
    }

    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        self.check(Operation::Mac, Usage::Sign, algorithm)?;
        let mac = self.hmac()?.chain_update(message);
        Ok(mac.finalize().into_bytes().to_vec())
    }

    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        self.check(Operation::Mac, Usage::Verify, algorithm)?;
        let verified = self.hmac()?.chain_update(message).verify_slice(tag);
        verified.map_err(|_| Error::crypto())
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| failed("the system has no random numbers"))?;
    Ok(bytes)
}

fn failed(message: &'static str) -> Error {
    Error::new(ErrorKind::DeviceFailed, message)
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Nothing that is in them.
impl fmt::Debug for OwnDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnDevice").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// An HSM on the device: an engine puts it together with a store, an audit log and a clock.
#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let clock = Arc::<SystemClock>::default();
    let parts = Parts {
        device: Arc::new(OwnDevice::new()?),
        store: Arc::new(EmbeddedStore::in_memory()?),
        audit: Arc::new(AuditLog::in_memory(clock.clone())?),
        clock,
    };
    let setup = Setup {
        administrator: "admin".parse()?,
        password: SecretBytes::copy_from(b"the administrator's password"),
        settings: Settings::default(),
    };
    let hsm = Hsm::over(Arc::new(Engine::create(parts, setup).await?))?;
    let admin = hsm.login("admin", "the administrator's password").await?;
    admin
        .create_user("app", "the application's password")
        .await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;

    let app = hsm.login("app", "the application's password").await?;
    let key = app.create::<EcdsaP256>("payments").await?;
    let signature = key.sign(b"pay 100 to Alice").await?;
    let public = key.public_key().await?;
    let input = SignInput::Message(b"pay 100 to Alice");
    public.verify(Algorithm::Es256, input, signature.bytes())?;
    println!(
        "the own device signed, and this key verifies it:\n\n{}",
        public.to_pem()?
    );
    Ok(())
}

#[cfg(test)]
hsm_testkit::device_conformance!(OwnDevice::new().expect("the system has random numbers"));
