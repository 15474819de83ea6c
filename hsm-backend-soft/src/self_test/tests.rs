//! Breaks one primitive at a time and expects the self-tests to find it.

use futures_executor::block_on;
use hsm_core::{Binding, Capabilities, Ciphertext, Device, Encapsulated, KeySpec};
use parking_lot::Mutex;

use super::*;
use crate::device::SoftDevice;
use crate::options::CryptoProvider;
use crate::root::Root;

/// What a broken primitive does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Every output has a wrong bit.
    Output,
    /// Every check says yes.
    Yes,
    /// Every check says no.
    No,
}

/// A provider with one broken primitive, which can be mended.
#[derive(Debug)]
struct Broken {
    right: &'static dyn Provider,
    fault: Mutex<Option<(Algorithm, Fault)>>,
}

impl Broken {
    fn leak(right: CryptoProvider, fault: Option<(Algorithm, Fault)>) -> &'static Self {
        Box::leak(Box::new(Self {
            right: right.provider(),
            fault: Mutex::new(fault),
        }))
    }

    fn fault(&self, algorithm: Algorithm) -> Option<Fault> {
        self.fault
            .lock()
            .filter(|(broken, _)| *broken == algorithm)
            .map(|(_, fault)| fault)
    }
}

impl Provider for &'static Broken {
    fn capabilities(&self) -> Capabilities {
        self.right.capabilities()
    }
    fn random(&self, out: &mut [u8]) -> Result<()> {
        self.right.random(out)
    }
    fn generate(&self, key_type: KeyType) -> Result<SecretBytes> {
        self.right.generate(key_type)
    }
    fn decode(&self, key_type: KeyType, encoded: &[u8]) -> Result<SecretBytes> {
        self.right.decode(key_type, encoded)
    }
    fn encode(&self, key_type: KeyType, material: &[u8]) -> Result<SecretBytes> {
        self.right.encode(key_type, material)
    }
    fn parse(
        &self,
        key_type: KeyType,
        usages: Usages,
        material: &[u8],
    ) -> Result<Box<dyn ParsedKey>> {
        let right = self.right.parse(key_type, usages, material)?;
        Ok(Box::new(BrokenKey {
            right,
            broken: self,
        }))
    }
}

#[derive(Debug)]
struct BrokenKey {
    right: Box<dyn ParsedKey>,
    broken: &'static Broken,
}

impl BrokenKey {
    fn bytes(&self, algorithm: Algorithm, right: Result<Vec<u8>>) -> Result<Vec<u8>> {
        let mut bytes = right?;
        if self.broken.fault(algorithm) == Some(Fault::Output) {
            bytes[0] ^= 1;
        }
        Ok(bytes)
    }

    fn secret(&self, algorithm: Algorithm, right: Result<SecretBytes>) -> Result<SecretBytes> {
        let right = match self.broken.fault(algorithm) {
            Some(Fault::Yes) => Ok(right.unwrap_or_else(|_| SecretBytes::copy_from(b"accepted"))),
            Some(Fault::No) => Err(Error::crypto()),
            _ => right,
        };
        let bytes = right?.expose().to_vec();
        self.bytes(algorithm, Ok(bytes)).map(SecretBytes::from)
    }

    fn verdict(&self, algorithm: Algorithm, right: Result<()>) -> Result<()> {
        match self.broken.fault(algorithm) {
            Some(Fault::Yes) => Ok(()),
            Some(Fault::No) => Err(Error::crypto()),
            _ => right,
        }
    }
}

impl ParsedKey for BrokenKey {
    fn public(&self) -> Option<&PublicKey> {
        self.right.public()
    }
    fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        self.bytes(algorithm, self.right.sign(algorithm, input))
    }
    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        self.verdict(algorithm, self.right.verify(algorithm, input, signature))
    }
    fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        self.bytes(algorithm, self.right.mac(algorithm, message))
    }
    fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        self.verdict(algorithm, self.right.verify_mac(algorithm, message, tag))
    }
    fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Vec<u8>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        let mut sealed = self.right.encrypt(algorithm, plaintext, iv, aad)?;
        sealed.ciphertext = self.bytes(algorithm, Ok(sealed.ciphertext))?;
        Ok(sealed)
    }
    fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        self.secret(algorithm, self.right.decrypt(algorithm, ciphertext, aad))
    }
    fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        self.bytes(algorithm, self.right.wrap(algorithm, key))
    }
    fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        self.secret(algorithm, self.right.unwrap(algorithm, wrapped))
    }
    fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        self.secret(algorithm, self.right.agree(algorithm, peer))
    }
    fn encapsulate(&self, algorithm: Algorithm) -> Result<Encapsulated> {
        let mut sent = self.right.encapsulate(algorithm)?;
        sent.ciphertext = self.bytes(algorithm, Ok(sent.ciphertext))?;
        Ok(sent)
    }
    fn decapsulate(&self, algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        self.secret(algorithm, self.right.decapsulate(algorithm, ciphertext))
    }
    fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        self.secret(algorithm, self.right.derive(algorithm, parameters, len))
    }
}

#[test]
fn every_right_provider_passes() {
    for provider in CryptoProvider::ALL {
        run(provider.provider()).unwrap();
    }
}

#[test]
fn every_broken_family_is_found() {
    use Algorithm as A;
    let cases = [
        (A::A256Gcm, Fault::Output),
        (A::A256Gcm, Fault::Yes),
        (A::A256Gcm, Fault::No),
        (A::A256Cbc, Fault::Output),
        (A::A256Cbc, Fault::No),
        (A::A256Ctr, Fault::Output),
        (A::A256Kw, Fault::Output),
        (A::A256Kw, Fault::Yes),
        (A::A192Kwp, Fault::Output),
        (A::A192Kwp, Fault::Yes),
        (A::Hs256, Fault::Output),
        (A::Hs256, Fault::Yes),
        (A::Hs384, Fault::Output),
        (A::Hs512, Fault::No),
        (A::HkdfSha256, Fault::Output),
        (A::KbkdfHmacSha512, Fault::Output),
        (A::Es256, Fault::Output),
        (A::Es256, Fault::Yes),
        (A::Es256, Fault::No),
        (A::EcdhEs, Fault::Output),
        (A::EdDsa, Fault::Output),
        (A::EdDsa, Fault::Yes),
        (A::MlDsa65, Fault::Output),
        (A::MlDsa65, Fault::Yes),
        (A::MlDsa65, Fault::No),
        (A::MlKem768, Fault::Output),
        (A::MlKem768, Fault::No),
        (A::XWing, Fault::Output),
        (A::XWing, Fault::No),
        (A::Rs256, Fault::Output),
        (A::Rs256, Fault::Yes),
        (A::Rs256, Fault::No),
        (A::Ps256, Fault::Output),
        (A::Ps256, Fault::Yes),
        (A::RsaOaep256, Fault::Output),
    ];
    for (algorithm, fault) in cases {
        for provider in CryptoProvider::ALL {
            let error = run(&Broken::leak(*provider, Some((algorithm, fault)))).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::DeviceFailed,
                "{provider:?} {algorithm} {fault:?}"
            );
        }
    }
}

#[test]
fn a_device_that_fails_at_power_on_does_not_open() {
    let (broken, _) = mended();
    *broken.fault.lock() = Some((Algorithm::Hs256, Fault::Output));
    let error =
        SoftDevice::power_on(Box::leak(Box::new(broken)), false, Root::in_memory).unwrap_err();
    assert_eq!(error.message(), "the self-test of HMAC failed");
}

/// Breaks after power-on, is found, refuses everything, is mended, works again.
#[test]
fn an_error_state_lasts_until_a_self_test_passes() {
    let (broken, device) = mended();
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify])).unwrap();
    let binding = Binding::new("test", b"error state");
    let new = block_on(device.generate(&spec, &binding)).unwrap();
    let key = block_on(device.load(&new.sealed, &binding)).unwrap();
    let sign = || block_on(key.sign(Algorithm::Es256, SignInput::Message(b"m"))).map(drop);
    sign().unwrap();

    *broken.fault.lock() = Some((Algorithm::Hs256, Fault::Output));
    block_on(device.self_test()).unwrap_err();
    *broken.fault.lock() = None;
    let refusals = [
        sign(),
        block_on(device.load(&new.sealed, &binding)).map(drop),
        block_on(device.generate(&spec, &binding)).map(drop),
        block_on(device.import(SecretBytes::copy_from(b"key"), &spec, &binding)).map(drop),
        block_on(device.reseal(&new.sealed, &binding, &binding, Usages::NONE)).map(drop),
        block_on(device.random(&mut [0; 8])),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().kind(), ErrorKind::DeviceFailed);
    }

    block_on(device.self_test()).unwrap();
    sign().unwrap();
}

#[test]
fn a_pair_that_does_not_match_is_not_handed_out_and_stops_the_device() {
    let cases = [
        (
            KeyType::EcP384,
            Usage::Sign,
            Algorithm::Es384,
            Fault::Output,
        ),
        (KeyType::Ed25519, Usage::Sign, Algorithm::EdDsa, Fault::No),
        (
            KeyType::X25519,
            Usage::DeriveBits,
            Algorithm::EcdhEs,
            Fault::Output,
        ),
        (
            KeyType::MlDsa87,
            Usage::Sign,
            Algorithm::MlDsa87,
            Fault::Output,
        ),
        (
            KeyType::MlKem512,
            Usage::Encapsulate,
            Algorithm::MlKem512,
            Fault::Output,
        ),
        (
            KeyType::XWing,
            Usage::Decapsulate,
            Algorithm::XWing,
            Fault::No,
        ),
        (
            KeyType::Rsa2048,
            Usage::Decrypt,
            Algorithm::Rs256,
            Fault::No,
        ),
    ];
    for (key_type, usage, algorithm, fault) in cases {
        let (broken, device) = mended();
        *broken.fault.lock() = Some((algorithm, fault));
        let spec = KeySpec::new(key_type, Usages::of(&[usage])).unwrap();
        let binding = Binding::new("test", b"pairwise");
        let error = block_on(device.generate(&spec, &binding)).unwrap_err();
        assert!(
            error.message().contains("do not belong together"),
            "{error}"
        );
        let after = block_on(device.random(&mut [0; 8])).unwrap_err();
        assert_eq!(after.kind(), ErrorKind::DeviceFailed, "{key_type}");
    }
}

/// A working device, and the provider to break.
fn mended() -> (&'static Broken, SoftDevice) {
    let broken = Broken::leak(CryptoProvider::ALL[0], None);
    let provider: &'static &'static Broken = Box::leak(Box::new(broken));
    (
        broken,
        SoftDevice::power_on(provider, false, Root::in_memory).unwrap(),
    )
}
