//! A device of your own: ECDSA on P-256 and HMAC-SHA-256 in software, whose root is gone with the process. It passes the
//! conformance suite, and has just what an engine needs.
//!
//! `cargo run -p hsm-examples --bin own_backend`, and `cargo test -p hsm-examples --bin own_backend` for the suite.

use std::error::Error as StdError;
use std::sync::Arc;

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
use parking_lot::RwLock;
use sha2::Sha256;
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;

/// What all keys are sealed under; `None` once it is zeroized. The device shares it with the keys that it loaded.
#[derive(Clone, Debug)]
struct Root(Arc<RwLock<Option<SecretBytes>>>);

impl Root {
    fn cipher(&self) -> Result<Aes256Gcm> {
        let root = self.0.read();
        let root = root.as_ref().map(SecretBytes::expose);
        root.and_then(|root| Aes256Gcm::new_from_slice(root).ok())
            .ok_or_else(|| failed("the device was zeroized"))
    }

    /// AES-256-GCM over the key's spec and material. The binding is associated data: under another it does not open.
    fn seal(&self, spec: &KeySpec, binding: &Binding, material: &[u8]) -> Result<SealedKey> {
        let plaintext = postcard::to_allocvec(&(spec, material)).map(Zeroizing::new);
        let plaintext = plaintext.map_err(|_| failed("the key cannot be encoded"))?;
        // One root seals fewer than 2^32 keys, so that random nonces do not repeat (SP 800-38D section 8.3).
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let (msg, aad) = (&plaintext[..], &binding.as_bytes()[..]);
        let sealed = self.cipher()?.encrypt(&nonce.into(), Payload { msg, aad });
        let sealed = sealed.map_err(|_| failed("the key cannot be sealed"))?;
        SealedKey::new([&nonce[..], &sealed].concat())
    }

    fn unseal(&self, sealed: &SealedKey, binding: &Binding) -> Result<(KeySpec, SecretBytes)> {
        let cipher = self.cipher()?;
        let open = || {
            let (nonce, msg) = sealed.as_bytes().split_first_chunk::<NONCE_LEN>()?;
            let aad = &binding.as_bytes()[..];
            let plaintext = cipher.decrypt(&(*nonce).into(), Payload { msg, aad }).ok();
            let plaintext = Zeroizing::new(plaintext?);
            let (spec, material): (KeySpec, &[u8]) = postcard::from_bytes(&plaintext).ok()?;
            Some((spec, SecretBytes::copy_from(material)))
        };
        open().ok_or_else(|| Error::new(ErrorKind::Damaged, "the sealed key is not this device's"))
    }
}

/// The device.
#[derive(Debug)]
struct OwnDevice {
    root: Root,
    capabilities: Capabilities,
}

impl OwnDevice {
    fn new() -> Result<Self> {
        let root = SecretBytes::try_init_with(KEY_LEN, random)?;
        Ok(Self {
            root: Root(Arc::new(RwLock::new(Some(root)))),
            capabilities: Capabilities::new("own")
                .with_key_types([KeyType::EcP256, KeyType::HmacSha256])
                .with_algorithms([Algorithm::Es256, Algorithm::Hs256]),
        })
    }

    fn seal_new(&self, spec: &KeySpec, binding: &Binding, material: &[u8]) -> Result<NewKey> {
        Ok(NewKey {
            public: Secret::parse(spec.key_type, material)?.public().cloned(),
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
        self.capabilities.check_spec(spec)?;
        loop {
            // 32 bytes are a key of either type, unless they are no scalar of P-256: once in 2^32 times.
            let material = SecretBytes::try_init_with(KEY_LEN, random)?;
            if Secret::parse(spec.key_type, material.expose()).is_ok() {
                return self.seal_new(spec, binding, material.expose());
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
        self.capabilities.check_spec(spec)?;
        if spec.key_type == KeyType::EcP256 {
            let key = SigningKey::from_pkcs8_der(material.expose());
            let key = key.map_err(|_| invalid("this is no P-256 key in PKCS#8"))?;
            return self.seal_new(spec, binding, &Zeroizing::new(key.to_bytes()));
        }
        self.seal_new(spec, binding, material.expose())
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        let (spec, material) = self.root.unseal(sealed, binding)?;
        Ok(Arc::new(OwnKey {
            root: self.root.clone(),
            spec,
            secret: Secret::parse(spec.key_type, material.expose())?,
        }))
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        let (spec, material) = self.root.unseal(sealed, old)?;
        let spec = spec.without_usages(without)?;
        self.root.seal(&spec, new, material.expose())
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        self.root.cipher()?;
        random(out)
    }

    async fn self_test(&self) -> Result<()> {
        self.root.cipher()?;
        // RFC 4231 section 4.3.
        let tag = hmac(b"Jefe").chain_update(b"what do ya want for nothing?");
        match tag.finalize().into_bytes()[..4] {
            [0x5b, 0xdc, 0xc1, 0x46] => Ok(()),
            _ => Err(failed("HMAC-SHA-256 does not give its known answer")),
        }
    }

    async fn zeroize(&self) -> Result<()> {
        *self.root.0.write() = None;
        Ok(())
    }
}

#[derive(Debug)]
enum Secret {
    Ec(SigningKey, PublicKey),
    Hmac(Hmac<Sha256>),
}

impl Secret {
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        if material.len() != KEY_LEN {
            return Err(invalid("a key of this device has 32 bytes"));
        }
        if key_type == KeyType::HmacSha256 {
            return Ok(Self::Hmac(hmac(material)));
        }
        let key = SigningKey::from_slice(material);
        let key = key.map_err(|_| invalid("this is no scalar of P-256"))?;
        let point = key.verifying_key().to_sec1_point(false);
        let public = PublicKey::from_raw(key_type, point.as_bytes())?;
        Ok(Self::Ec(key, public))
    }

    fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::Ec(_, public) => Some(public),
            Self::Hmac(_) => None,
        }
    }
}

/// A key in use. What is not here, the trait refuses.
#[derive(Debug)]
struct OwnKey {
    root: Root,
    spec: KeySpec,
    secret: Secret,
}

impl OwnKey {
    /// The secret, if the device lives, the algorithm fits and the usage is there.
    fn permit(&self, operation: Operation, usage: Usage, algorithm: Algorithm) -> Result<&Secret> {
        self.root.cipher()?;
        self.spec.check(operation, algorithm)?;
        self.spec.check_usage(usage)?;
        Ok(&self.secret)
    }
}

#[async_trait]
impl LoadedKey for OwnKey {
    fn spec(&self) -> &KeySpec {
        &self.spec
    }

    fn public(&self) -> Option<&PublicKey> {
        self.secret.public()
    }

    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        match self.permit(Operation::Sign, Usage::Sign, algorithm)? {
            Secret::Ec(key, _) => {
                let signature = key.sign_prehash(&input.digest(algorithm)?);
                let signature: Signature = signature.map_err(|_| Error::crypto())?;
                Ok(signature.to_bytes().to_vec())
            }
            Secret::Hmac(_) => Err(Error::crypto()),
        }
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        match self.permit(Operation::Sign, Usage::Verify, algorithm)? {
            Secret::Ec(_, public) => public.verify(algorithm, input, signature),
            Secret::Hmac(_) => Err(Error::crypto()),
        }
    }

    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        match self.permit(Operation::Mac, Usage::Sign, algorithm)? {
            Secret::Hmac(mac) => {
                let tag = mac.clone().chain_update(message).finalize();
                Ok(tag.into_bytes().to_vec())
            }
            Secret::Ec(..) => Err(Error::crypto()),
        }
    }

    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        match self.permit(Operation::Mac, Usage::Verify, algorithm)? {
            Secret::Hmac(mac) => {
                let verified = mac.clone().chain_update(message).verify_slice(tag);
                verified.map_err(|_| Error::crypto())
            }
            Secret::Ec(..) => Err(Error::crypto()),
        }
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|_| failed("the system has no random numbers"))
}

fn failed(message: &'static str) -> Error {
    Error::new(ErrorKind::DeviceFailed, message)
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
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
