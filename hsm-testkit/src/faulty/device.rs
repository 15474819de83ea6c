//! [`FaultyDevice`], and the keys that it loads.

use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::attestation::{AttestRequest, Evidence};
use hsm_core::{
    Algorithm, Binding, Capabilities, Ciphertext, CiphertextRef, DeriveParameters, Device,
    Encapsulated, ErrorKind, KeySpec, LoadedKey, NewKey, PublicKey, Result, SealedKey, SecretBytes,
    SignInput, Usages, WrappedFormat,
};

use super::{Fault, Faults};

/// A [`Device`] whose calls fail as planned, before with [`ErrorKind::DeviceFailed`] and after with
/// [`ErrorKind::Unknown`], and so do those of the keys that it loads.
///
/// [`Fault::Garbage`] flips a bit of a sealed key, a signature, a tag, a ciphertext, a plaintext or a secret that is
/// returned. Where nothing but success is returned, it has no effect.
///
/// ```
/// use futures_executor::block_on;
/// use hsm_backend_soft::SoftDevice;
/// use hsm_core::{Device, ErrorKind};
/// use hsm_testkit::{Fault, Faults, FaultyDevice};
///
/// let calls = Faults::none();
/// let device = FaultyDevice::new(SoftDevice::in_memory()?, calls.clone(), Faults::none());
/// calls.strike(Fault::Before);
/// let failure = block_on(device.random(&mut [0; 8])).unwrap_err();
/// assert_eq!(failure.kind(), ErrorKind::DeviceFailed);
/// block_on(device.random(&mut [0; 8]))?;
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultyDevice<D> {
    device: D,
    calls: Faults,
    keys: Faults,
}

impl<D: Device> FaultyDevice<D> {
    /// Wraps `device`. `calls` strikes its own methods, `keys` those of every key that it loads.
    pub const fn new(device: D, calls: Faults, keys: Faults) -> Self {
        Self {
            device,
            calls,
            keys,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<D: Device> Device for FaultyDevice<D> {
    fn capabilities(&self) -> &Capabilities {
        self.device.capabilities()
    }

    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
        strike(&self.calls, self.device.generate(spec, binding)).await
    }

    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        strike(&self.calls, self.device.import(material, spec, binding)).await
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        let key = strike(&self.calls, self.device.load(sealed, binding)).await?;
        Ok(Arc::new(FaultyKey {
            key,
            calls: self.keys.clone(),
        }))
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        strike(&self.calls, self.device.reseal(sealed, old, new, without)).await
    }

    async fn attest(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
        request: &AttestRequest,
    ) -> Result<Evidence> {
        strike(&self.calls, self.device.attest(sealed, binding, request)).await
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        strike(&self.calls, self.device.random(out)).await
    }

    async fn self_test(&self) -> Result<()> {
        strike(&self.calls, self.device.self_test()).await
    }

    async fn zeroize(&self) -> Result<()> {
        strike(&self.calls, self.device.zeroize()).await
    }
}

#[derive(Debug)]
struct FaultyKey {
    key: Arc<dyn LoadedKey>,
    calls: Faults,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LoadedKey for FaultyKey {
    fn spec(&self) -> &KeySpec {
        self.key.spec()
    }

    fn public(&self) -> Option<&PublicKey> {
        self.key.public()
    }

    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        strike(&self.calls, self.key.sign(algorithm, input)).await
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        strike(&self.calls, self.key.verify(algorithm, input, signature)).await
    }

    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        strike(&self.calls, self.key.mac(algorithm, message)).await
    }

    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        strike(&self.calls, self.key.verify_mac(algorithm, message, tag)).await
    }

    async fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        strike(&self.calls, self.key.encrypt(algorithm, plaintext, iv, aad)).await
    }

    async fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        strike(&self.calls, self.key.decrypt(algorithm, ciphertext, aad)).await
    }

    async fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        strike(&self.calls, self.key.wrap(algorithm, key)).await
    }

    async fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        strike(&self.calls, self.key.unwrap(algorithm, wrapped)).await
    }

    async fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        strike(&self.calls, self.key.agree(algorithm, peer)).await
    }

    async fn encapsulate(&self, algorithm: Algorithm) -> Result<Encapsulated> {
        strike(&self.calls, self.key.encapsulate(algorithm)).await
    }

    async fn decapsulate(&self, algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        strike(&self.calls, self.key.decapsulate(algorithm, ciphertext)).await
    }

    async fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        strike(&self.calls, self.key.derive(algorithm, parameters, len)).await
    }

    async fn export(
        &self,
        algorithm: Algorithm,
        target: &SealedKey,
        target_binding: &Binding,
    ) -> Result<Vec<u8>> {
        strike(
            &self.calls,
            self.key.export(algorithm, target, target_binding),
        )
        .await
    }

    async fn import(
        &self,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        strike(
            &self.calls,
            self.key.import(algorithm, wrapped, format, spec, binding),
        )
        .await
    }
}

/// Makes `call`, unless it is to fail.
async fn strike<T: Garble>(
    faults: &Faults,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let fault = faults.next();
    if let Some(Fault::Garbage { at }) = fault {
        return call.await?.garbled(at);
    }
    faults.before(fault, ErrorKind::DeviceFailed).await?;
    let answer = call.await?;
    faults.after(fault, ErrorKind::Unknown).await?;
    Ok(answer)
}

/// What a device answers, with a wrong bit.
trait Garble: Sized {
    fn garbled(self, at: usize) -> Result<Self>;
}

impl Garble for () {
    fn garbled(self, _: usize) -> Result<Self> {
        Ok(self)
    }
}

impl Garble for Arc<dyn LoadedKey> {
    fn garbled(self, _: usize) -> Result<Self> {
        Ok(self)
    }
}

impl Garble for Vec<u8> {
    fn garbled(mut self, at: usize) -> Result<Self> {
        let len = self.len();
        if let Some(byte) = self.get_mut(at.checked_rem(len).unwrap_or_default()) {
            *byte ^= 1;
        }
        Ok(self)
    }
}

impl Garble for SecretBytes {
    fn garbled(self, at: usize) -> Result<Self> {
        Ok(Self::from(self.expose().to_vec().garbled(at)?))
    }
}

impl Garble for Encapsulated {
    fn garbled(mut self, at: usize) -> Result<Self> {
        self.ciphertext = self.ciphertext.garbled(at)?;
        Ok(self)
    }
}

impl Garble for SealedKey {
    fn garbled(self, at: usize) -> Result<Self> {
        Self::new(self.as_bytes().to_vec().garbled(at)?)
    }
}

impl Garble for Evidence {
    fn garbled(self, at: usize) -> Result<Self> {
        Self::from_bytes(self.as_bytes().to_vec().garbled(at)?)
    }
}

impl Garble for NewKey {
    fn garbled(mut self, at: usize) -> Result<Self> {
        self.sealed = self.sealed.garbled(at)?;
        Ok(self)
    }
}

impl Garble for Ciphertext {
    fn garbled(mut self, at: usize) -> Result<Self> {
        self.ciphertext = self.ciphertext.garbled(at)?;
        Ok(self)
    }
}
