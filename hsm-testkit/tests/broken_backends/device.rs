//! Devices that are wrong in one thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hsm_backend_soft::SoftDevice;
use hsm_core::attestation::{AttestRequest, Evidence};
use hsm_core::{
    Algorithm, Binding, Capabilities, Ciphertext, CiphertextRef, DeriveParameters, Device,
    Encapsulated, Error, ErrorKind, KeySpec, KeyType, LoadedKey, NewKey, PublicKey, Result,
    SealedKey, SecretBytes, SignInput, Usage, Usages, WrappedFormat,
};
use hsm_testkit::suite::{self, Case};
use parking_lot::Mutex;
use pollster::block_on;

/// Places for loaded keys in [`Flaw::LeaksHandles`].
const SLOTS: usize = 64;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    None,
    /// States keys that do not load.
    AttestsAnything,
    /// States every key for the nonce that was first asked with.
    AttestsTheFirstNonce,
    /// States another key, which may do more.
    AttestsTooMuch,
    /// Opens a sealed key with anything after it.
    AcceptsTails,
    /// Makes a slow key on the thread that polls.
    BlocksItsPoller,
    /// Names a key type that it does not have.
    ClaimsTooMuch,
    /// Cuts encapsulations to their length, or fills them up.
    CutsEncapsulations,
    /// Says what was wrong with a ciphertext.
    ExplainsFailures,
    /// Makes a digest of any length fit.
    ForgetsLength,
    /// Seals every key under the same binding.
    IgnoresBinding,
    /// Seals every usage that the key's type has.
    IgnoresUsages,
    /// Keeps the usages that resealing takes away.
    KeepsUsages,
    /// Never frees the place of a loaded key.
    LeaksHandles,
    /// Shows imported keys in `Debug`.
    PrintsKeys,
    /// Fails where an encapsulation was not made for the key.
    RejectsAloud,
    /// Uses one IV for everything.
    RepeatsIvs,
    /// Has a random generator that starts anew each time.
    RepeatsRandom,
    /// Says that it is zeroized, and goes on.
    SurvivesZeroize,
    /// Takes any signature.
    VerifiesAnything,
    /// Takes a wrapped key for more than its wrapping says.
    WidensImports,
}

super::caught! { cases(Flaw):
    tails_of_sealed_keys: AcceptsTails by [
        "what_is_no_sealed_key_does_not_load": "a key loads only unaltered",
    ],
    reports_of_anything: AttestsAnything by [
        "what_does_not_load_is_not_reported": "a key that does not load is not stated",
    ],
    reports_of_too_much: AttestsTooMuch by [
        "reports_state_the_key": "a key report states the key that was asked about",
    ],
    reports_for_another_nonce: AttestsTheFirstNonce by [
        "reports_are_for_their_nonce": "a key report has the nonce that was asked with",
    ],
    blocking: BlocksItsPoller by [
        "slow_calls_do_not_block_their_poller": "a call that takes long does not block the thread that polls it",
    ],
    capabilities: ClaimsTooMuch by [
        "generated_keys_load_and_say_what_they_are": "generate a key of type RSA-2048",
    ],
    encapsulation_lengths: CutsEncapsulations by [
        "encapsulations_of_the_wrong_length_are_refused": "a ciphertext of the wrong length is InvalidInput",
    ],
    explanations: ExplainsFailures by [
        "edited_ciphertexts_are_refused": "CryptoFailed says no reason",
    ],
    lengths: ForgetsLength by [
        "digests_of_the_wrong_length_are_refused": "a digest of the wrong length is InvalidInput",
    ],
    bindings: IgnoresBinding by [
        "keys_load_under_their_binding_only": "a key loads only under the binding it was sealed with",
        "sealed_keys_cannot_be_swapped": "a key loads only under the binding it was sealed with",
        "resealed_keys_are_the_same_under_the_new_binding": "a key loads only under the binding it was sealed with",
    ],
    usages: IgnoresUsages by [
        "usages_are_enforced": "a usage that the spec lacks is KeyState",
    ],
    usages_after_resealing: KeepsUsages by [
        "resealing_takes_usages_away": "resealing takes the usages of a",
    ],
    handles: LeaksHandles by [
        "dropped_keys_free_their_place": "dropping a loaded key frees what it holds in the device",
    ],
    debug_output: PrintsKeys by [
        "debug_output_shows_no_key": "Debug",
    ],
    rejections: RejectsAloud by [
        "wrong_encapsulations_give_other_secrets": "gives another secret and no error",
    ],
    ivs: RepeatsIvs by [
        "encryptions_do_not_repeat": "the device chooses a random IV",
    ],
    random_numbers: RepeatsRandom by [
        "random_bytes_differ": "16 random bytes repeat",
    ],
    zeroizing: SurvivesZeroize by [
        "nothing_works_after_zeroize": "zeroize",
    ],
    signatures: VerifiesAnything by [
        "wrong_signatures_are_refused": "a signature that is not right is CryptoFailed",
    ],
    wrapped_keys: WidensImports by [
        "imports_do_not_widen": "wider",
    ],
}

fn cases(flaw: Flaw) -> Vec<Case> {
    suite::device(move || Box::new(BrokenDevice::new(flaw)))
}

/// A device with few key types, and one flaw.
#[derive(Debug)]
struct BrokenDevice {
    flaw: Flaw,
    device: SoftDevice,
    capabilities: Capabilities,
    loaded: AtomicUsize,
    attested: Mutex<Option<AttestRequest>>,
    printed: Mutex<Vec<Vec<u8>>>,
}

impl BrokenDevice {
    fn new(flaw: Flaw) -> Self {
        let mut key_types = vec![
            KeyType::EcP256,
            KeyType::Aes256,
            KeyType::HmacSha256,
            KeyType::Kdk256,
            KeyType::MlKem768,
        ];
        match flaw {
            Flaw::BlocksItsPoller => key_types.push(KeyType::Rsa4096),
            Flaw::ClaimsTooMuch => key_types.push(KeyType::Rsa2048),
            _ => {}
        }
        let device = SoftDevice::in_memory().unwrap();
        let algorithms = Algorithm::all().filter(|algorithm| {
            device.capabilities().supports_algorithm(*algorithm)
                && key_types.iter().any(|key_type| algorithm.fits(*key_type))
        });
        let capabilities = Capabilities::new("broken")
            .with_algorithms(algorithms)
            .with_key_types(key_types)
            .with_attestation();
        Self {
            flaw,
            device,
            capabilities,
            loaded: AtomicUsize::new(0),
            attested: Mutex::default(),
            printed: Mutex::default(),
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn check(&self, key_type: KeyType) -> Result<()> {
        if self.has(Flaw::ClaimsTooMuch) && key_type == KeyType::Rsa2048 {
            return Err(Error::new(ErrorKind::Unsupported, "not in this model"));
        }
        self.capabilities.check(key_type, None)
    }

    fn spec(&self, spec: &KeySpec) -> KeySpec {
        let mut sealed = *spec;
        if self.has(Flaw::IgnoresUsages) {
            let transport = Usages::of(&[Usage::Import, Usage::Export]);
            sealed.usages = spec.key_type.info().usages.without(transport);
        }
        sealed
    }

    fn binding(&self, binding: &Binding) -> Binding {
        the_binding(self.flaw, binding)
    }
}

fn the_binding(flaw: Flaw, binding: &Binding) -> Binding {
    match flaw {
        Flaw::IgnoresBinding => Binding::new("one for", b"all"),
        _ => *binding,
    }
}

#[async_trait]
impl Device for BrokenDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
        self.check(spec.key_type)?;
        let (spec, binding) = (self.spec(spec), self.binding(binding));
        if self.has(Flaw::BlocksItsPoller) {
            return block_on(self.device.generate(&spec, &binding));
        }
        self.device.generate(&spec, &binding).await
    }

    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.check(spec.key_type)?;
        if self.has(Flaw::PrintsKeys) {
            self.printed.lock().push(material.expose().to_vec());
        }
        let (spec, binding) = (self.spec(spec), self.binding(binding));
        self.device.import(material, &spec, &binding).await
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        if self.has(Flaw::LeaksHandles) && self.loaded.fetch_add(1, Ordering::Relaxed) >= SLOTS {
            return Err(Error::new(ErrorKind::DeviceFailed, "no place is free"));
        }
        let binding = self.binding(binding);
        let mut loaded = self.device.load(sealed, &binding).await;
        if self.has(Flaw::AcceptsTails)
            && loaded.is_err()
            && let Some((_, shorter)) = sealed.as_bytes().split_last()
        {
            loaded = self.device.load(&SealedKey::new(shorter)?, &binding).await;
        }
        Ok(Arc::new(BrokenKey {
            flaw: self.flaw,
            key: loaded?,
            sent: Mutex::default(),
        }))
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        let (old, new) = (self.binding(old), self.binding(new));
        let resealed = self.device.reseal(sealed, &old, &new, without).await?;
        if self.has(Flaw::KeepsUsages) {
            return self.device.reseal(sealed, &old, &new, Usages::NONE).await;
        }
        Ok(resealed)
    }

    async fn attest(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
        request: &AttestRequest,
    ) -> Result<Evidence> {
        let binding = self.binding(binding);
        let first = self.attested.lock().get_or_insert(request.clone()).clone();
        let request = match self.flaw {
            Flaw::AttestsTheFirstNonce => &first,
            _ => request,
        };
        let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify]))?;
        let attested = self.device.attest(sealed, &binding, request).await;
        match (self.flaw, attested) {
            (Flaw::AttestsAnything, Err(error)) if error.kind() == ErrorKind::Damaged => {
                let other = self.device.generate(&spec, &binding).await?;
                self.device.attest(&other.sealed, &binding, request).await
            }
            (Flaw::AttestsTooMuch, Ok(_)) => {
                let other = self.device.generate(&spec, &binding).await?;
                self.device.attest(&other.sealed, &binding, request).await
            }
            (_, attested) => attested,
        }
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        self.device.random(out).await?;
        if self.has(Flaw::RepeatsRandom) {
            for (byte, at) in out.iter_mut().zip(0..) {
                *byte = at;
            }
        }
        Ok(())
    }

    async fn self_test(&self) -> Result<()> {
        self.device.self_test().await
    }

    async fn zeroize(&self) -> Result<()> {
        if self.has(Flaw::SurvivesZeroize) {
            return Ok(());
        }
        self.device.zeroize().await
    }
}

/// A loaded key with the flaw of its device.
#[derive(Debug)]
struct BrokenKey {
    flaw: Flaw,
    key: Arc<dyn LoadedKey>,
    /// The encapsulations that were made with it.
    sent: Mutex<Vec<Vec<u8>>>,
}

impl BrokenKey {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// What is signed, by a device that forgets to check it.
    fn input<'a>(&self, input: SignInput<'a>, padded: &'a mut [u8; 32]) -> SignInput<'a> {
        match input {
            SignInput::Digest(digest) if self.has(Flaw::ForgetsLength) => {
                let len = digest.len().min(32);
                padded[..len].copy_from_slice(&digest[..len]);
                SignInput::Digest(padded)
            }
            input => input,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LoadedKey for BrokenKey {
    fn spec(&self) -> &KeySpec {
        self.key.spec()
    }

    fn public(&self) -> Option<&PublicKey> {
        self.key.public()
    }

    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let mut padded = [0; 32];
        let input = self.input(input, &mut padded);
        self.key.sign(algorithm, input).await
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        let mut padded = [0; 32];
        let input = self.input(input, &mut padded);
        match self.key.verify(algorithm, input, signature).await {
            Err(error)
                if error.kind() == ErrorKind::CryptoFailed && self.has(Flaw::VerifiesAnything) =>
            {
                Ok(())
            }
            verified => verified,
        }
    }

    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        self.key.mac(algorithm, message).await
    }

    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        self.key.verify_mac(algorithm, message, tag).await
    }

    async fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        let info = algorithm.info();
        let same = vec![7; info.iv_len];
        let repeats = self.has(Flaw::RepeatsIvs) && info.iv_len > 0 && info.tag_len == 0;
        let iv = if repeats { Some(&same[..]) } else { iv };
        self.key.encrypt(algorithm, plaintext, iv, aad).await
    }

    async fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        let decrypted = self.key.decrypt(algorithm, ciphertext, aad).await;
        decrypted.map_err(|error| match error.kind() {
            ErrorKind::CryptoFailed if self.has(Flaw::ExplainsFailures) => {
                Error::new(ErrorKind::CryptoFailed, "the tag is wrong in byte 3")
            }
            _ => error,
        })
    }

    async fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        self.key.wrap(algorithm, key).await
    }

    async fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        self.key.unwrap(algorithm, wrapped).await
    }

    async fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        self.key.agree(algorithm, peer).await
    }

    async fn encapsulate(&self, algorithm: Algorithm) -> Result<Encapsulated> {
        let encapsulated = self.key.encapsulate(algorithm).await?;
        self.sent.lock().push(encapsulated.ciphertext.clone());
        Ok(encapsulated)
    }

    async fn decapsulate(&self, algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        let mut ciphertext = ciphertext.to_vec();
        if self.has(Flaw::CutsEncapsulations) {
            ciphertext.resize(algorithm.encapsulation_len().unwrap_or_default(), 0);
        }
        if self.has(Flaw::RejectsAloud) && !self.sent.lock().contains(&ciphertext) {
            return Err(Error::crypto());
        }
        self.key.decapsulate(algorithm, &ciphertext).await
    }

    async fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        self.key.derive(algorithm, parameters, len).await
    }

    async fn export(
        &self,
        algorithm: Algorithm,
        target: &SealedKey,
        target_binding: &Binding,
    ) -> Result<Vec<u8>> {
        let target_binding = the_binding(self.flaw, target_binding);
        self.key.export(algorithm, target, &target_binding).await
    }

    async fn import(
        &self,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        let binding = the_binding(self.flaw, binding);
        let import = async |spec| {
            self.key
                .import(algorithm, wrapped, format, &spec, &binding)
                .await
        };
        let mut imported = import(*spec).await;
        if self.has(Flaw::WidensImports) {
            for usage in spec.usages.iter() {
                if imported.is_err() {
                    imported = import(KeySpec::new(spec.key_type, Usages::of(&[usage]))?).await;
                }
            }
        }
        imported
    }
}
