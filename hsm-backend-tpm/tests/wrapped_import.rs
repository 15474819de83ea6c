//! Keys that others wrapped come into a TPM as no more than they say, and cross the bus in no clear form.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/transport.rs"]
mod transport;

use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_backend_tpm::{Sharing, TpmDevice, Transport};
use hsm_core::key::header;
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeySpec, KeyType, LoadedKey, NewKey, Result,
    SecretBytes, SignInput, Usage, Usages, WrappedFormat,
};
use hsm_testkit::TpmSimulator;
use p256::pkcs8::EncodePrivateKey;
use tempfile::TempDir;
use transport::Simulated;

const ALGORITHM: Algorithm = Algorithm::RsaAesKwp;

/// All that crossed.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Vec<u8>>>>);

impl Recorder {
    fn contains(&self, secret: &[u8]) -> bool {
        let frames = self.0.lock().unwrap();
        let mut frames = frames.iter();
        frames.any(|frame| frame.windows(secret.len()).any(|window| window == secret))
    }
}

#[derive(Debug)]
struct Recorded(Simulated, Recorder);

impl Transport for Recorded {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let response = self.0.transmit(command, within)?;
        let mut frames = self.1.0.lock().unwrap();
        frames.extend([command.to_vec(), response.clone()]);
        Ok(response)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.0.reconnect()
    }

    fn sharing(&self) -> Sharing {
        self.0.sharing()
    }
}

/// A TPM with a key that takes others in.
struct Carrier {
    device: TpmDevice,
    key: Arc<dyn LoadedKey>,
    bus: Recorder,
    folder: TempDir,
}

fn binding() -> Binding {
    Binding::new("test", b"a key")
}

fn spec(key_type: KeyType, usages: &[Usage]) -> KeySpec {
    KeySpec::new(key_type, Usages::of(usages)).unwrap()
}

impl Carrier {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing().or_else(openssl_missing) {
            eprintln!("skipped: {reason}");
            return None;
        }
        let bus = Recorder::default();
        let device = TpmDevice::create(Recorded(Simulated::new(), bus.clone())).unwrap();
        let key = block_on(async {
            let spec = spec(KeyType::Rsa2048, &[Usage::Import]);
            let new = device.generate(&spec, &binding()).await.unwrap();
            device.load(&new.sealed, &binding()).await.unwrap()
        });
        let folder = tempfile::tempdir().unwrap();
        Some(Self {
            device,
            key,
            bus,
            folder,
        })
    }

    /// What another system makes of `plaintext` (PKCS#11 `CKM_RSA_AES_KEY_WRAP`), with nothing of this crate.
    fn wrap(&self, plaintext: &[u8]) -> Vec<u8> {
        let aes: [u8; 32] = std::array::from_fn(|at| 0x40 ^ u8::try_from(at).unwrap());
        let file = |name: &str| self.folder.path().join(name);
        let (public, plain, encrypted) = (file("public.pem"), file("plain"), file("encrypted"));
        std::fs::write(&public, self.key.public().unwrap().to_pem().unwrap()).unwrap();
        std::fs::write(&plain, aes).unwrap();
        // OAEP with SHA-1 is what openssl does unless it is told otherwise.
        let status = Command::new("openssl")
            .args(["pkeyutl", "-encrypt", "-pubin", "-inkey"])
            .arg(public)
            .args(["-pkeyopt", "rsa_padding_mode:oaep", "-in"])
            .arg(plain)
            .arg("-out")
            .arg(&encrypted)
            .status();
        assert!(status.unwrap().success());
        let mut wrapped = std::fs::read(encrypted).unwrap();
        let mut inner = vec![0; plaintext.len().div_ceil(8) * 8 + 8];
        KwpAes256::new((&aes).into())
            .wrap_key(plaintext, &mut inner)
            .unwrap();
        wrapped.extend(inner);
        wrapped
    }

    fn import(&self, wrapped: &[u8], format: WrappedFormat, spec: &KeySpec) -> Result<NewKey> {
        block_on(
            self.key
                .import(ALGORITHM, wrapped, format, spec, &binding()),
        )
    }

    fn load(&self, new: &NewKey) -> Arc<dyn LoadedKey> {
        block_on(self.device.load(&new.sealed, &binding())).unwrap()
    }
}

fn openssl_missing() -> Option<String> {
    let mut openssl = Command::new("openssl");
    let found = openssl.arg("version").stdout(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => None,
        _ => Some("openssl is not installed".to_owned()),
    }
}

/// A private key in PKCS#8, and its scalar.
fn ec_key() -> (Vec<u8>, [u8; 32]) {
    let scalar: [u8; 32] = std::array::from_fn(|at| 0x5a ^ u8::try_from(at * 7).unwrap());
    let key = p256::SecretKey::from_slice(&scalar).unwrap();
    (key.to_pkcs8_der().unwrap().as_bytes().to_vec(), scalar)
}

#[test]
fn bare_keys_of_other_systems_come_in() {
    let Some(carrier) = Carrier::new() else {
        return;
    };
    let (pkcs8, scalar) = ec_key();
    let wrapped = carrier.wrap(&pkcs8);
    let signing = spec(KeyType::EcP256, &[Usage::Sign, Usage::Verify]);
    let new = carrier.import(&wrapped, WrappedFormat::Bare, &signing);
    let new = new.unwrap();
    let key = carrier.load(&new);
    let message = SignInput::Message(b"message");
    let signature = block_on(key.sign(Algorithm::Es256, message)).unwrap();
    let software = SoftDevice::in_memory().unwrap();
    let expected = software.import(SecretBytes::copy_from(&pkcs8), &signing, &binding());
    let expected = block_on(expected).unwrap().public.unwrap();
    assert_eq!(new.public.as_ref(), Some(&expected));
    expected
        .verify(Algorithm::Es256, message, &signature)
        .unwrap();
    assert!(!carrier.bus.contains(&scalar[..16]), "it crossed in clear");

    let secret: Vec<u8> = (0..32).map(|at: u8| 0xa1 ^ at.wrapping_mul(37)).collect();
    let mac = spec(KeyType::HmacSha256, &[Usage::Sign]);
    let wrapped = carrier.wrap(&secret);
    let new = carrier.import(&wrapped, WrappedFormat::Bare, &mac).unwrap();
    let tag = block_on(carrier.load(&new).mac(Algorithm::Hs256, b"message")).unwrap();
    block_on(async {
        let material = SecretBytes::copy_from(&secret);
        let same = software.import(material, &mac, &binding()).await.unwrap();
        let same = software.load(&same.sealed, &binding()).await.unwrap();
        assert_eq!(same.mac(Algorithm::Hs256, b"message").await.unwrap(), tag);
    });
    assert!(!carrier.bus.contains(&secret[..16]), "it crossed in clear");
    // It is not what the key says, so it cannot become exportable, nor a key of another size.
    for (wanted, kind) in [
        (mac.exportable(), ErrorKind::Denied),
        (
            spec(KeyType::Aes128, &[Usage::Encrypt]),
            ErrorKind::InvalidInput,
        ),
        (
            spec(KeyType::EcP256, &[Usage::Sign]),
            ErrorKind::InvalidInput,
        ),
    ] {
        let error = carrier.import(&wrapped, WrappedFormat::Bare, &wanted);
        assert_eq!(error.unwrap_err().kind(), kind, "{wanted:?}");
    }
}

#[test]
fn keys_of_other_hsms_come_in_as_no_more_than_they_say() {
    let Some(carrier) = Carrier::new() else {
        return;
    };
    let named = spec(KeyType::EcP256, &[Usage::Sign, Usage::Verify]);
    let (pkcs8, _) = ec_key();
    let wrapped = carrier.wrap(&[&header::encode(&named)[..], &pkcs8].concat());
    let import = |spec: &KeySpec| carrier.import(&wrapped, WrappedFormat::Bound, spec);
    let narrower = spec(KeyType::EcP256, &[Usage::Verify]);
    for wanted in [named, narrower] {
        let key = carrier.load(&import(&wanted).unwrap());
        assert_eq!(*key.spec(), wanted);
    }
    for wider in [
        spec(KeyType::EcP256, &[Usage::Sign, Usage::DeriveBits]),
        named.exportable(),
        spec(KeyType::EcP384, &[Usage::Sign]),
    ] {
        let error = import(&wider).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{wider:?}: {error}");
    }
    let wrapped = carrier.wrap(&pkcs8);
    let error = carrier.import(&wrapped, WrappedFormat::Bound, &named);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn edited_blobs_say_nothing_of_why_they_are_refused() {
    let Some(carrier) = Carrier::new() else {
        return;
    };
    let mac = spec(KeyType::HmacSha256, &[Usage::Sign]);
    let genuine = carrier.wrap(&[7; 32]);
    let import = |wrapped: &[u8]| carrier.import(wrapped, WrappedFormat::Bare, &mac);
    let mut edited = Vec::new();
    for at in (0..genuine.len()).step_by(13) {
        let mut one = genuine.clone();
        one[at] ^= 1 << (at % 8);
        edited.push(one);
    }
    edited.extend([0, 1, 255, 256, 257, 272, genuine.len() - 8].map(|len| genuine[..len].to_vec()));
    edited.push([&genuine[..], &[0; 8]].concat());
    edited.push(vec![0; genuine.len()]);
    for blob in edited {
        let error = import(&blob).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{error}");
        assert!(error.message().is_empty());
    }
    import(&genuine).unwrap();
}

#[test]
fn only_a_key_for_it_takes_others_in() {
    let Some(carrier) = Carrier::new() else {
        return;
    };
    let mac = spec(KeyType::HmacSha256, &[Usage::Sign]);
    block_on(async {
        let other = spec(KeyType::Rsa2048, &[Usage::UnwrapKey, Usage::Decrypt]);
        let other = carrier.device.generate(&other, &binding()).await.unwrap();
        let other = carrier
            .device
            .load(&other.sealed, &binding())
            .await
            .unwrap();
        let (bare, bound) = (WrappedFormat::Bare, binding());
        let wrapped = carrier.wrap(&[7; 32]);
        let refused = other.import(ALGORITHM, &wrapped, bare, &mac, &bound);
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::KeyState);
        let oaep = Algorithm::RsaOaep;
        let refused = carrier.key.import(oaep, &wrapped, bare, &mac, &bound);
        assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::InvalidInput);
        // And it unwraps nothing for callers.
        let unwrapped = carrier.key.unwrap(oaep, &wrapped[..256]).await;
        assert_eq!(unwrapped.unwrap_err().kind(), ErrorKind::KeyState);
        let new = carrier.device.generate(&mac.exportable(), &bound).await;
        let exported = carrier.key.export(ALGORITHM, &new.unwrap().sealed, &bound);
        assert_eq!(exported.await.unwrap_err().kind(), ErrorKind::KeyState);
    });
}
